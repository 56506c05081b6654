"""Drop the mark up to which accounts were pulled from auth: auth tells of them now."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.drop_table("account_sync")
