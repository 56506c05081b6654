"""Drop the index for the list of accounts that changed, which is no more."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.drop_index("ix_accounts_updated", "accounts")
