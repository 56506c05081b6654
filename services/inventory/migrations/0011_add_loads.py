"""Add the loads of WorkSpaces, for advice on their size."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "workspace_loads",
        sa.Column("workspace_id", sa.String(60), primary_key=True),
        sa.Column("account", sa.String(36), nullable=False),
        sa.Column("region", sa.String(30), nullable=False),
        sa.Column("first_day", sa.String(10), nullable=False),
        sa.Column("hours", sa.Integer, nullable=False),
        sa.Column("cpu", sa.Float, nullable=False),
        sa.Column("memory", sa.Float, nullable=False),
        sa.Column("seen", UtcDateTime, nullable=False),
    )
    op.create_index("ix_workspace_loads_seen", "workspace_loads", ["account", "region", "seen"])
