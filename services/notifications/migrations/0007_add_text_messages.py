"""Add the phones of accounts, and the ids that providers give to what was sent."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("provider_id", sa.String(100)))
    op.create_index("ix_deliveries_channel_id", "deliveries", ["channel", "id"])
    known = sa.text("provider_id IS NOT NULL")
    op.create_index(
        "ix_deliveries_provider_id",
        "deliveries",
        ["provider_id"],
        unique=True,
        sqlite_where=known,
        postgresql_where=known,
    )
    op.create_table(
        "phones",
        sa.Column("user_id", sa.String(36), primary_key=True),
        sa.Column("sealed", sa.Text, nullable=False),
        sa.Column("confirmed", UtcDateTime),
        sa.Column("code_hash", sa.String(64)),
        sa.Column("code_expires", UtcDateTime),
        sa.Column("wrong", sa.Integer, nullable=False),
        sa.Column("updated", UtcDateTime, nullable=False),
    )
