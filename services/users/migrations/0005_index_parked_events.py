"""Index events that could not be applied by whether they are dead, and by age."""

from shared.events.migrations import index_parked_events_2

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    index_parked_events_2()
