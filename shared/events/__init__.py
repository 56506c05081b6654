"""Events between services: never lost, in order per key, applied exactly once."""

from shared.events.event import Event
from shared.events.inbox import Consumers, Poison
from shared.events.outbox import emit
from shared.events.recorded import Recorded
from shared.events.spine import Events, Subscriber
from shared.events.tables import EventTables
from shared.http.trail import Trail

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
