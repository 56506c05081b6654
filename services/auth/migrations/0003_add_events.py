"""Create the tables for events."""

from shared.events.migrations import create_event_tables_1

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    create_event_tables_1()
