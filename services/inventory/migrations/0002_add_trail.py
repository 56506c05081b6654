"""Add the tables of CloudTrail events."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "trail_events",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("event_id", sa.String(100), nullable=False),
        sa.Column("account", sa.String(36), nullable=False),
        sa.Column("region", sa.String(30), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("source", sa.String(100)),
        sa.Column("username", sa.String(300)),
        sa.Column("source_ip", sa.String(100)),
        sa.Column("error_code", sa.String(200)),
        sa.Column("workspaces", sa.Text, nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("response", sa.Text, nullable=False),
        sa.Column("identity", sa.Text, nullable=False),
    )
    op.create_index("ix_trail_events_event_id", "trail_events", ["event_id"], unique=True)
    op.create_index("ix_trail_events_name_id", "trail_events", ["name", "id"])
    op.create_index("ix_trail_events_username_id", "trail_events", ["username", "id"])
    op.create_table(
        "trail_workspaces",
        sa.Column("workspace_id", sa.String(60), primary_key=True),
        sa.Column("id", sa.String(36), primary_key=True),
    )
