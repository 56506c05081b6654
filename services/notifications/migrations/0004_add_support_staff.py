"""Add the accounts that are support staff."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "support_staff",
        sa.Column("user_id", sa.String(36), primary_key=True),
        sa.Column("since", UtcDateTime, nullable=False),
    )
