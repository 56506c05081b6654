"""Create boxes, terminals and tickets, and the tables of the event spine."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime, rows_where
from shared.events.migrations import create_event_tables_1

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "boxes",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("owner", sa.String(36), nullable=False, unique=True),
        sa.Column("backend", sa.String(20), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("reason", sa.String(20)),
        sa.Column("ends_for", sa.String(20)),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("started", UtcDateTime, nullable=False),
        sa.Column("stopped", UtcDateTime),
        sa.Column("last_activity", UtcDateTime, nullable=False),
    )
    op.create_index("ix_boxes_state_last_activity", "boxes", ["state", "last_activity"])
    op.create_table(
        "terminals",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("owner", sa.String(36), nullable=False),
        sa.Column("tab", sa.String(64), nullable=False),
        sa.Column("epoch", sa.String(36), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("exit_code", sa.Integer),
        sa.Column("exit_signal", sa.Integer),
        sa.Column("head", sa.BigInteger, nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("ended", UtcDateTime),
    )
    op.create_index("ix_terminals_owner_id", "terminals", ["owner", "id"])
    op.create_index("ix_terminals_ended", "terminals", ["ended"])
    live = rows_where("state IN ('starting', 'open')")
    op.create_index("uq_terminals_owner_tab", "terminals", ["owner", "tab"], unique=True, **live)
    op.create_table(
        "tickets",
        sa.Column("hash", sa.String(64), primary_key=True),
        sa.Column("owner", sa.String(36), nullable=False),
        sa.Column("terminal_id", sa.String(36), nullable=False),
        sa.Column("mode", sa.String(2), nullable=False),
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("expires", UtcDateTime, nullable=False),
    )
    op.create_index("ix_tickets_expires", "tickets", ["expires"])
    op.create_index("ix_tickets_owner", "tickets", ["owner"])
    create_event_tables_1()
