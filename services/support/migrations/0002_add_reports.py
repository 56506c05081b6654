"""Add jobs, and the files of reports that they write."""

from shared.reports.migrations import create_report_tables_1
from shared.work.migrations import create_job_tables_1

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    create_job_tables_1()
    create_report_tables_1()
