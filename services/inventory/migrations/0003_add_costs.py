"""Add the table of costs."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "costs",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("account", sa.String(36), nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("workspace_id", sa.String(60), nullable=False),
        sa.Column("service", sa.String(100), nullable=False),
        sa.Column("usage_type", sa.String(200), nullable=False),
        sa.Column("region", sa.String(30), nullable=False),
        sa.Column("amount_whole", sa.BigInteger, nullable=False),
        sa.Column("amount_part", sa.BigInteger, nullable=False),
        sa.Column("quantity_whole", sa.BigInteger, nullable=False),
        sa.Column("quantity_part", sa.BigInteger, nullable=False),
        sa.Column("unit", sa.String(30), nullable=False),
        sa.Column("currency", sa.String(10), nullable=False),
        sa.Column("estimated", sa.Boolean, nullable=False),
        sa.Column("pulled", UtcDateTime, nullable=False),
    )
    op.create_index("ix_costs_day", "costs", ["day"])
    op.create_index("ix_costs_account_day", "costs", ["account", "day"])
    op.create_index("ix_costs_workspace_id_id", "costs", ["workspace_id", "id"])
    op.create_index("ix_costs_usage_type_id", "costs", ["usage_type", "id"])
