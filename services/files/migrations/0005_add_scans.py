"""Add the findings of the virus scanner."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("files", sa.Column("threat", sa.String(255)))
    op.create_index("ix_files_state_id", "files", ["state", "id"])
