"""What has not arrived yet: events that wait for a subscriber, and received ones that are retried or dead."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, func, select, tuple_
from sqlmodel import Session

from shared.events.parked import COUNTED_MAX, Parked
from shared.events.tables import EventTables

Place = tuple[datetime, int]  # where a page of parked events starts: time of arrival and number


@dataclass(frozen=True, slots=True)
class Waiting:
    """Events that wait for a subscriber, counted up to COUNTED_MAX."""

    subscriber: str
    number: int
    oldest: datetime | None
    attempts: int
    last_error: str | None


class Undelivered:
    """The undelivered events of one service, read at a cost that does not grow with their number."""

    def __init__(self, tables: EventTables, subscribers: Iterable[str]) -> None:
        self._outbox, self._parked = tables.outbox, tables.parked
        self._line = Parked(tables.parked, {})
        self._subscribers = sorted(subscribers)

    def waiting(self, session: Session) -> list[Waiting]:
        return [self._waiting_for(session, one) for one in self._subscribers]

    def _waiting_for(self, session: Session, subscriber: str) -> Waiting:
        table, execute = self._outbox, session.connection().execute
        here = (table.c.subscriber == subscriber, table.c.sent_as.is_(None))
        some = select(table.c.seq).where(*here).order_by(table.c.seq).limit(COUNTED_MAX)
        number = execute(select(func.count()).select_from(some.subquery())).scalar_one()
        first = execute(select(table).where(*here).order_by(table.c.seq).limit(1)).one_or_none()
        if first is None:
            return Waiting(subscriber, 0, None, 0, None)
        return Waiting(subscriber, number, first.created, first.attempts, first.last_error)

    def unsent(self, session: Session, subscriber: str, rows: int, *, after: int = 0) -> list[Row[Any]]:
        """Return events that wait for a subscriber, oldest first, from after a number on."""
        table = self._outbox
        columns = [table.c[name] for name in ("seq", "body", "created", "attempts", "last_error")]
        here = (table.c.subscriber == subscriber, table.c.sent_as.is_(None), table.c.seq > after)
        ordered: Select[Any] = select(*columns).where(*here).order_by(table.c.seq)
        page: Sequence[Row[Any]] = session.connection().execute(ordered.limit(rows)).all()
        return [*page]

    def census(self, session: Session) -> tuple[int, int]:
        """Return the numbers of events to retry and of dead ones."""
        return self._line.census(session)

    def newest(
        self, session: Session, rows: int, *, dead: bool, before: Place | None = None
    ) -> list[Row[Any]]:
        """Return received events that are dead or to be retried, newest first, from before a place on."""
        table = self._parked
        found: Select[Any] = select(*(column for column in table.c if column is not table.c.body))
        found = found.where(table.c.dead if dead else ~table.c.dead)
        if before is not None:
            found = found.where(tuple_(table.c.received, table.c.seq) < before)
        ordered = found.order_by(table.c.received.desc(), table.c.seq.desc())
        page: Sequence[Row[Any]] = session.connection().execute(ordered.limit(rows)).all()
        return [*page]

    def find(self, session: Session, event_id: str) -> Row[Any] | None:
        """Return one received event with its content."""
        here = select(self._parked).where(self._parked.c.id == event_id)
        return session.connection().execute(here).one_or_none()
