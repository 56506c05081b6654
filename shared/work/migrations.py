"""Migrations of the tables for background work.

Functions here have already run on databases, so they never change; a later change is a new function with the
next number.
"""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime, rows_where


def create_work_tables_1() -> None:
    """Create the table of leased work."""
    op.create_table(
        "work",
        sa.Column("id", sa.String(60), primary_key=True),
        sa.Column("queue", sa.String(60), nullable=False),
        sa.Column("key", sa.String(200)),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("due", UtcDateTime, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("lease", sa.String(36)),
        sa.Column("error", sa.String(500)),
        sa.Column("given_up", UtcDateTime),
    )
    op.create_index("ix_work_due", "work", ["queue", "due", "id"])
    in_line = rows_where("key IS NOT NULL AND given_up IS NULL")
    op.create_index("ix_work_key", "work", ["queue", "key", "due", "id"], **in_line)
    leased = rows_where("lease IS NOT NULL")
    op.create_index("ix_work_leased", "work", ["queue", "due"], **leased)
    op.create_index("ix_work_leased_key", "work", ["queue", "key"], unique=True, **leased)
    op.create_index("ix_work_given_up", "work", ["queue", "given_up"], **rows_where("given_up IS NOT NULL"))


def create_job_tables_1() -> None:
    """Create the table of jobs, which needs that of leased work."""
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("kind", sa.String(50), nullable=False),
        sa.Column("subject", sa.String(150), nullable=False),
        sa.Column("owner", sa.String(36), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("input", sa.Text, nullable=False),
        sa.Column("cursor", sa.Text),
        sa.Column("progress", sa.BigInteger, nullable=False),
        sa.Column("total", sa.BigInteger),
        sa.Column("note", sa.String(500)),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("cancel_asked", sa.Boolean, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("result", sa.Text),
        sa.Column("error", sa.String(500)),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("started", UtcDateTime),
        sa.Column("ended", UtcDateTime),
    )
    op.create_index("ix_jobs_owner", "jobs", ["owner", "id"])
    op.create_index("ix_jobs_owner_unfinished", "jobs", ["owner"], **rows_where("ended IS NULL"))
    op.create_index("ix_jobs_ended", "jobs", ["ended"], **rows_where("ended IS NOT NULL"))
