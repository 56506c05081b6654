"""Add deployments and the deliveries of GitHub's webhook."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "deployments",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("run_id", sa.BigInteger, nullable=False, unique=True),
        sa.Column("repository", sa.String(201), nullable=False),
        sa.Column("branch", sa.String(255), nullable=False),
        sa.Column("sha", sa.String(64), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("output", sa.Text, nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("ended", UtcDateTime),
    )
    op.create_index("ix_deployments_state_id", "deployments", ["state", "id"])
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("received", UtcDateTime, nullable=False),
    )
    op.create_index("ix_deliveries_received", "deliveries", ["received"])
