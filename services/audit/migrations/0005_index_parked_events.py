"""Index parked events by state and age."""

from shared.events.migrations import index_parked_events_2

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    index_parked_events_2()
