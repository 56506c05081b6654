"""Migrations of the table for reports.

Functions here have already run on databases, so they never change; a later change is a new function with the
next number.
"""

import sqlalchemy as sa
from alembic import op


def create_report_tables_1() -> None:
    """Create the table of the files of reports."""
    op.create_table(
        "report_parts",
        sa.Column("report_id", sa.String(36), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
