"""Index usage by day, for its deletion, and costs by service, for the classic list."""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_index("ix_usage_daily_day", "usage_daily", ["day"])
    op.create_index("ix_costs_service_id", "costs", ["service", "id"])
