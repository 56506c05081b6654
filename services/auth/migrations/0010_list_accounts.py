"""Add the index for listing accounts by status and role; it replaces the index on roles."""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_index("ix_accounts_status_role_id", "accounts", ["status", "role", "id"])
    op.drop_index("ix_accounts_role", "accounts")
