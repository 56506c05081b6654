"""The tables of the event spine, as migrations make them.

What a function here has made exists in databases, so it is never changed; what comes later is a function
of its own with the next number.
"""

import sqlalchemy as sa
from alembic import op

from shared.database import UtcDateTime

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
        sa.Column("due", UtcDateTime, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("lease", sa.String(36)),
        sa.Column("sent_as", sa.String(40)),
        sa.Column("sent_in", sa.String(120)),
        sa.Column("last_error", sa.String(500)),
    )
    op.create_index("ix_outbox_subscriber_due", "outbox", ["subscriber", "due"])
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
