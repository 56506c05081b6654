"""Events: what services tell each other, never lost, in order, applied once."""

from shared.events.event import Event
from shared.events.inbox import Consumers, Poison
from shared.events.outbox import emit
from shared.events.recording import Recorded, Trail
from shared.events.spine import Events, Subscriber
from shared.events.tables import EventTables

__all__ = [
    "Consumers",
    "Event",
    "EventTables",
    "Events",
    "Poison",
    "Recorded",
    "Subscriber",
    "Trail",
    "emit",
]
