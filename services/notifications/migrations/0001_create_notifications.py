"""Create notifications, preferences, recipients, and the tables that every service has."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime, rows_where
from shared.events.migrations import create_event_tables_1, index_parked_events_2
from shared.work.migrations import create_work_tables_1

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "notifications",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("type", sa.String(50), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("severity", sa.String(10), nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("is_read", sa.Boolean, nullable=False),
        sa.Column("read_at", UtcDateTime),
        sa.Column("created", UtcDateTime, nullable=False),
    )
    for columns in (
        ["user_id", "id"],
        ["user_id", "type", "id"],
        ["user_id", "is_read", "id"],
        ["user_id", "type", "is_read", "id"],
    ):
        op.create_index(f"ix_notifications_{'_'.join(columns)}", "notifications", columns)
    op.create_table(
        "preferences",
        sa.Column("user_id", sa.String(36), primary_key=True),
        sa.Column("choices", sa.Text, nullable=False),
        sa.Column("updated", UtcDateTime, nullable=False),
    )
    op.create_table(
        "recipients",
        sa.Column("user_id", sa.String(36), primary_key=True),
        sa.Column("email", sa.String(320)),
        sa.Column("email_verified", sa.Boolean, nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("updated", UtcDateTime, nullable=False),
        sa.Column("deleted", UtcDateTime),
    )
    op.create_index("ix_recipients_role_user_id", "recipients", ["role", "user_id"])
    op.create_index("ix_recipients_deleted", "recipients", ["deleted"], **rows_where("deleted IS NOT NULL"))
    op.create_table(
        "idempotency_keys",
        sa.Column("scope", sa.String(200), primary_key=True),
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("headers", sa.Text),
        sa.Column("body", sa.LargeBinary),
    )
    op.create_index("ix_idempotency_keys_created", "idempotency_keys", ["created"])
    create_event_tables_1()
    index_parked_events_2()
    create_work_tables_1()
