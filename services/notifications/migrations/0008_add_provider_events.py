"""Add the events of mail providers, so that each is applied once."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "provider_events",
        sa.Column("id", sa.String(100), primary_key=True),
        sa.Column("received", UtcDateTime, nullable=False),
    )
    op.create_index("ix_provider_events_received", "provider_events", ["received"])
