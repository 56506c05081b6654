"""Create the tables of jobs and of their effects."""

import sqlalchemy as sa
from alembic import op

from shared.work.migrations import create_job_tables_1, create_work_tables_1

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_work_tables_1()
    create_job_tables_1()
    op.create_table(
        "effects",
        sa.Column("place", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("subject", sa.String(60), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
    )
