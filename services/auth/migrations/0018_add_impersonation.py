"""Let a session say which admin acts in it."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import rows_where

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.add_column("sessions", sa.Column("impersonator_id", sa.String(36)))
    op.create_index(
        "ix_sessions_impersonator_id",
        "sessions",
        ["impersonator_id"],
        **rows_where("impersonator_id IS NOT NULL"),
    )
