"""Add deliveries by e-mail, their attempts, suppressed addresses, and changed texts."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("user_id", sa.String(36)),
        sa.Column("channel", sa.String(10), nullable=False),
        sa.Column("template", sa.String(50), nullable=False),
        sa.Column("to_hash", sa.String(64), nullable=False),
        sa.Column("sealed", sa.Text),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("code", sa.String(50)),
        sa.Column("error", sa.String(500)),
        sa.Column("expires", UtcDateTime),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("finished", UtcDateTime),
    )
    for columns in (["state", "id"], ["user_id", "id"], ["user_id", "state", "id"], ["to_hash", "id"]):
        op.create_index(f"ix_deliveries_{'_'.join(columns)}", "deliveries", columns)
    op.create_table(
        "attempts",
        sa.Column("delivery_id", sa.String(36), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("started", UtcDateTime, nullable=False),
        sa.Column("finished", UtcDateTime),
        sa.Column("outcome", sa.String(10)),
        sa.Column("code", sa.String(50)),
        sa.Column("error", sa.String(500)),
    )
    op.create_table(
        "suppressions",
        sa.Column("to_hash", sa.String(64), primary_key=True),
        sa.Column("reason", sa.String(20), nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("until", UtcDateTime, nullable=False),
    )
    op.create_index("ix_suppressions_until", "suppressions", ["until"])
    op.create_table(
        "mail_texts",
        sa.Column("name", sa.String(50), primary_key=True),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("by", sa.String(36), nullable=False),
        sa.Column("updated", UtcDateTime, nullable=False),
    )
