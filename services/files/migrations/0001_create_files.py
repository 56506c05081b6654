"""Create files, the blobs with their content, and the usage of each account."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "blobs",
        sa.Column("key", sa.String(32), primary_key=True),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("reserved", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("until", UtcDateTime),
    )
    op.create_index("ix_blobs_state_until", "blobs", ["state", "until"])
    op.create_table(
        "files",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("folded_name", sa.String(765), nullable=False),
        sa.Column("mime_type", sa.String(127), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("visibility", sa.String(10), nullable=False),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("blob_key", sa.String(32), sa.ForeignKey("blobs.key"), nullable=False, unique=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("updated", UtcDateTime, nullable=False),
        sa.Column("trashed", UtcDateTime),
    )
    op.create_index("ix_files_user_id_id", "files", ["user_id", "id"])
    op.create_index("ix_files_visibility_id", "files", ["visibility", "id"])
    op.create_index("ix_files_trashed", "files", ["trashed"])
    op.create_table(
        "usage",
        sa.Column("user_id", sa.String(36), primary_key=True),
        sa.Column("used", sa.BigInteger, nullable=False),
        sa.Column("reserved", sa.BigInteger, nullable=False),
        sa.Column("files", sa.Integer, nullable=False),
    )
