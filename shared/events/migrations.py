"""Migrations of the event spine's tables.

Functions here have already run on databases, so they never change; a later change is a new function with the
next number.
"""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime, rows_where

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def create_event_tables_1() -> None:
    """Create outbox, inbox and parked."""
    op.create_table(
        "outbox",
        sa.Column("seq", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("subscriber", sa.String(50), nullable=False),
        sa.Column("key", sa.String(300), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("lease", sa.String(36)),
        sa.Column("leased_until", UtcDateTime),
        sa.Column("sent_as", sa.String(40)),
        sa.Column("sent_in", sa.String(120)),
        sa.Column("last_error", sa.String(500)),
    )
    _index_some("ix_outbox_waiting", ["subscriber", "seq"], "sent_as IS NULL")
    _index_some("ix_outbox_leased", ["subscriber", "leased_until"], "leased_until IS NOT NULL")
    _index_some("ix_outbox_sent", ["sent_in", "sent_as"], "sent_as IS NOT NULL")
    op.create_table(
        "inbox",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("received", UtcDateTime, nullable=False),
    )
    op.create_index("ix_inbox_received", "inbox", ["received"])
    op.create_table(
        "parked",
        sa.Column("seq", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(36), nullable=False, unique=True),
        sa.Column("topic", sa.String(100), nullable=False),
        sa.Column("key", sa.String(300), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("received", UtcDateTime, nullable=False),
        sa.Column("due", UtcDateTime, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("dead", sa.Boolean, nullable=False),
        sa.Column("blocks", sa.Boolean, nullable=False),
        sa.Column("reason", sa.String(500)),
    )
    op.create_index("ix_parked_due", "parked", ["due"])
    op.create_index("ix_parked_key_seq", "parked", ["key", "seq"])


def index_parked_events_2() -> None:
    """Index dead events, and those to be retried, by age."""
    columns = ["received", "seq"]
    op.create_index("ix_parked_dead", "parked", columns, **rows_where("dead", sqlite="dead = 1"))
    op.create_index("ix_parked_alive", "parked", columns, **rows_where("NOT dead", sqlite="dead = 0"))


def _index_some(name: str, columns: list[str], condition: str) -> None:
    """Create a partial index of the outbox."""
    where = sa.text(condition)
    op.create_index(name, "outbox", columns, sqlite_where=where, postgresql_where=where)
