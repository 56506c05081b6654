"""Made-up events and their consumer."""

from collections.abc import Sequence

from sqlalchemy import func, insert, select
from sqlmodel import Session

from shared.clock import now
from shared.events import Event, Poison
from shared.events.event import Envelope
from shared.ids import new_id
from tests.shared.events.conftest import APPLIED, TABLES


class Counted(Event):
    topic = "thing.counted"
    key = "thing"

    thing: str
    number: int


class Noted(Counted):
    topic = "thing.noted"

    note: str


class Blocking(Counted):
    topic = "thing.blocking"
    blocks = True


class Impatient(Counted):
    topic = "thing.impatient"
    waits = False


class Shared(Counted):
    topic = "thing.shared"


def apply(session: Session, events: Sequence[Counted]) -> None:
    """Record every event; -1 fails, -2 is poison."""
    for event in events:
        session.connection().execute(insert(APPLIED).values(thing=event.thing, number=event.number))
        if event.number == -1:
            raise ValueError("minus one")
        if event.number == -2:
            raise Poison("minus two")


def envelope(number: int, thing: str = "a", topic: str = "thing.counted", **values: object) -> Envelope:
    data = {"thing": thing, "number": number}
    fields = {"id": new_id(), "topic": topic, "version": 1, "key": f"thing {thing}", "source": "test"}
    return Envelope.model_validate({**fields, "time": now(), "data": data, **values})


def applied(session: Session) -> list[tuple[str, int]]:
    rows = session.connection().execute(select(APPLIED.c.thing, APPLIED.c.number).order_by(APPLIED.c.place))
    return [(row.thing, row.number) for row in rows]


def parked(session: Session) -> list[tuple[str, int, bool, str]]:
    """Return key, attempts, whether dead, and reason of all parked events, in order."""
    table = TABLES.parked
    columns = (table.c.key, table.c.attempts, table.c.dead, table.c.reason)
    return [tuple(row) for row in session.connection().execute(select(*columns).order_by(table.c.seq))]


def waiting(session: Session) -> int:
    return session.connection().execute(select(func.count()).select_from(TABLES.outbox)).scalar_one()
