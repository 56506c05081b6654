"""Add webhooks, their deliveries, and the attempts at these."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("url", sa.String(2_048), nullable=False),
        sa.Column("description", sa.String(200), nullable=False),
        sa.Column("types", sa.Text, nullable=False),
        sa.Column("is_enabled", sa.Boolean, nullable=False),
        sa.Column("disabled_because", sa.String(20)),
        sa.Column("sealed", sa.Text, nullable=False),
        sa.Column("rotated", UtcDateTime),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("failing_since", UtcDateTime),
        sa.Column("open_until", UtcDateTime),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("updated", UtcDateTime, nullable=False),
    )
    op.create_index("ix_webhooks_user_id_id", "webhooks", ["user_id", "id"])
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("webhook_id", sa.String(36), nullable=False),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("type", sa.String(50), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("code", sa.String(50)),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("finished", UtcDateTime),
    )
    for columns in (
        ["webhook_id", "id"],
        ["webhook_id", "state", "id"],
        ["webhook_id", "type", "id"],
        ["user_id", "id"],
    ):
        op.create_index(f"ix_webhook_deliveries_{'_'.join(columns)}", "webhook_deliveries", columns)
    op.create_table(
        "webhook_attempts",
        sa.Column("delivery_id", sa.String(36), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("started", UtcDateTime, nullable=False),
        sa.Column("finished", UtcDateTime),
        sa.Column("outcome", sa.String(10)),
        sa.Column("code", sa.String(50)),
        sa.Column("status", sa.Integer),
    )
