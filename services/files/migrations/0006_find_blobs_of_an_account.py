"""Index blobs by account, for the deletion of accounts."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_index("ix_blobs_user_id", "blobs", ["user_id"])
