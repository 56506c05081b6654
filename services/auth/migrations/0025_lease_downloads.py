"""Limit an account to one download of an export at a time, in all replicas together."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    op.create_table(
        "export_downloads",
        sa.Column(
            "account_id", sa.String(36), sa.ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("lease_id", sa.String(36), nullable=False, unique=True),
        sa.Column("expires", UtcDateTime, nullable=False),
    )
