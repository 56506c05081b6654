"""Add messages to many accounts: their jobs, the keys that were used, and when notifications expire."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime, rows_where
from shared.work.migrations import create_job_tables_1

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    for table in ("notifications", "digest_items", "webhook_deliveries"):
        op.add_column(table, sa.Column("expires", UtcDateTime))
    op.create_index(
        "ix_notifications_expires", "notifications", ["expires"], **rows_where("expires IS NOT NULL")
    )
    op.create_table(
        "used_keys",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("dedupe_key", sa.String(100), nullable=False),
    )
    op.create_index("ix_used_keys_user_id_dedupe_key", "used_keys", ["user_id", "dedupe_key"], unique=True)
    create_job_tables_1()
