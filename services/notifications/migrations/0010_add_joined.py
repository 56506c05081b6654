"""Keep when accounts were created, for the event of analytics that someone has signed up."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("recipients", sa.Column("joined", UtcDateTime))
