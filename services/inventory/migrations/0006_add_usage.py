"""Add the tables of usage by day and by month."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "usage_daily",
        sa.Column("workspace_id", sa.String(60), primary_key=True),
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("connected_minutes", sa.Integer, nullable=False),
        sa.Column("sessions", sa.Integer, nullable=False),
        sa.Column("session_hours", sa.Integer, nullable=False),
        sa.Column("clock_hours", sa.Integer, nullable=False),
        sa.Column("complete", sa.Boolean, nullable=False),
    )
    op.create_table(
        "usage_monthly",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("workspace_id", sa.String(60), nullable=False),
        sa.Column("account", sa.String(36), nullable=False),
        sa.Column("month", sa.String(7), nullable=False),
        sa.Column("source", sa.String(10), nullable=False),
        sa.Column("hours", sa.BigInteger, nullable=False),
        sa.Column("billed", sa.BigInteger),
        sa.Column("days", sa.Integer),
        sa.Column("connected_minutes", sa.Integer),
        sa.Column("sessions", sa.Integer),
        sa.Column("session_hours", sa.Integer),
        sa.Column("clock_hours", sa.Integer),
        sa.Column("first_day", sa.String(10)),
        sa.Column("last_day", sa.String(10)),
        sa.Column("updated", UtcDateTime, nullable=False),
    )
    op.create_index("ix_usage_monthly_workspace_id_id", "usage_monthly", ["workspace_id", "id"])
    op.create_index("ix_usage_monthly_month", "usage_monthly", ["month", "source", "hours"])
