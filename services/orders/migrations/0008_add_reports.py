"""Add jobs, and the files of reports that they write."""

import sqlalchemy as sa
from alembic import op

from shared.work.migrations import create_job_tables_1

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    create_job_tables_1()
    op.create_table(
        "report_parts",
        sa.Column("report_id", sa.String(36), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
