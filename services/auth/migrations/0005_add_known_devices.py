"""Add known devices."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "known_devices",
        sa.Column(
            "account_id", sa.String(36), sa.ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("device_id", sa.String(36), primary_key=True),
        sa.Column("used", UtcDateTime, nullable=False),
    )
    op.create_index("ix_known_devices_used", "known_devices", ["used"])
