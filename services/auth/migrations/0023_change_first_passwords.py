"""Mark accounts whose password somebody else has set; no existing account is marked."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    column = sa.Column("must_change_password", sa.Boolean, nullable=False, server_default=sa.false())
    op.add_column("accounts", column)
