"""Keep the password that a person has chosen at the first sign-in until the second factor is shown."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    op.add_column("challenges", sa.Column("new_hash", sa.String(100)))
