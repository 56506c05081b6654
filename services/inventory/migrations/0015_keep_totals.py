"""Keep the numbers of WorkSpaces and the sums of hours, for totals that need not read every row."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.create_table(
        "workspace_counts",
        sa.Column("presence", sa.String(10), primary_key=True),
        sa.Column("state", sa.String(60), primary_key=True),
        sa.Column("running_mode", sa.String(60), primary_key=True),
        sa.Column("number", sa.Integer, nullable=False),
    )
    op.execute(
        """
        INSERT INTO workspace_counts (presence, state, running_mode, number)
        SELECT presence, state, COALESCE(running_mode, ''), COUNT(*)
        FROM workspaces GROUP BY presence, state, COALESCE(running_mode, '')
        """
    )
    op.create_table(
        "hour_sums",
        sa.Column("month", sa.String(7), primary_key=True),
        sa.Column("source", sa.String(10), primary_key=True),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("hours", sa.BigInteger, nullable=False),
    )
    op.execute(
        """
        INSERT INTO hour_sums (month, source, number, hours)
        SELECT month, source, COUNT(*), SUM(hours) FROM usage_monthly GROUP BY month, source
        """
    )
