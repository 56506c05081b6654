"""Create the event tables: outbox, inbox and parked events."""

from shared.events.migrations import create_event_tables_1

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    create_event_tables_1()
