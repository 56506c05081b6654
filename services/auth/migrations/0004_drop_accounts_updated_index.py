"""Drop the index behind the list of changed accounts; that list was removed."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.drop_index("ix_accounts_updated", "accounts")
