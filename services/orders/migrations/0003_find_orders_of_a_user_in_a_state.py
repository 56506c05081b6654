"""Index orders by user and status together."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_index("ix_orders_user_id_status_id", "orders", ["user_id", "status", "id"])
