"""Add the table of changes at AWS."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "aws_changes",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("workspace_id", sa.String(60), nullable=False),
        sa.Column("account", sa.String(36), nullable=False),
        sa.Column("region", sa.String(30), nullable=False),
        sa.Column("wanted", sa.String(200), nullable=False),
        sa.Column("before", sa.String(200), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("asked_by", sa.String(36)),
        sa.Column("approved_by", sa.String(36)),
        sa.Column("result", sa.String(500)),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("updated", UtcDateTime, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
    )
    op.create_index("ix_aws_changes_state_id", "aws_changes", ["state", "id"])
    op.create_index("ix_aws_changes_workspace_id_id", "aws_changes", ["workspace_id", "id"])
    op.create_index("ix_aws_changes_asked_by_id", "aws_changes", ["asked_by", "id"])
    op.create_index("ix_aws_changes_approved_by_id", "aws_changes", ["approved_by", "id"])
