"""Drop the position up to which accounts were read from auth, which now sends events."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.drop_table("account_sync")
