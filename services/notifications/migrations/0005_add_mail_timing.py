"""Add quiet hours and digests, and when a mail was planned to be sent."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    for name, size, default in (
        ("quiet_from", 5, "00:00"),
        ("quiet_to", 5, "00:00"),
        ("zone", 50, "UTC"),
        ("digest", 10, "none"),
    ):
        op.add_column("preferences", sa.Column(name, sa.String(size), nullable=False, server_default=default))
    op.add_column("deliveries", sa.Column("planned", UtcDateTime))
    op.create_table(
        "digest_items",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("type", sa.String(50), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("url", sa.Text),
    )
    op.create_index("ix_digest_items_user_id_id", "digest_items", ["user_id", "id"])
