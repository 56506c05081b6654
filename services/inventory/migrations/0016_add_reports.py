"""Add the files of reports."""

from shared.reports.migrations import create_report_tables_1

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    create_report_tables_1()
