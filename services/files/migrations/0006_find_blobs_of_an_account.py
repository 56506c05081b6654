"""Find the blobs of an account that is deleted without reading those of everybody."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_index("ix_blobs_user_id", "blobs", ["user_id"])
