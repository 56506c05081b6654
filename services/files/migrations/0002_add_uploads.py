"""Add resumable uploads."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("blob_key", sa.String(32), nullable=False),
        sa.Column("length", sa.BigInteger, nullable=False),
        sa.Column("received", sa.BigInteger, nullable=False),
        sa.Column("metadata_header", sa.Text, nullable=False),
        sa.Column("concat", sa.Text),
        sa.Column("file_id", sa.String(36)),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("expires", UtcDateTime, nullable=False),
    )
    op.create_index("ix_uploads_user_id_id", "uploads", ["user_id", "id"])
    op.create_index("ix_uploads_expires", "uploads", ["expires"])
    op.create_index("ix_uploads_file_id", "uploads", ["file_id"])
