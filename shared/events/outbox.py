"""What is still to be told: written with the change, taken under a lease, deleted when it has arrived."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, bindparam, delete, func, insert, select, text, update
from sqlmodel import Session

from shared.clock import now
from shared.events.event import Event, Sealed
from shared.events.tables import EventTables
from shared.ids import new_id

OUTBOX = "outbox"  # under which a session finds the outbox of its service
EMITTED = "emitted"  # set on a session that has something to tell
BATCH_MAX = 200
LEASE = timedelta(seconds=30)
ERROR_CHARACTERS_MAX = 500
_NOT_SENT: dict[str, None] = {"sent_as": None, "sent_in": None}
_CLAIM_LOCK = 0x6761746568 + 1  # of PostgreSQL: any number that nothing else of this database uses


def emit(session: Session, *events: Event) -> None:
    """Tell everybody who wants to know, if and only if this transaction commits."""
    outbox: Outbox = session.info[OUTBOX]
    for event in events:
        outbox.add(session, event)


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one subscriber, taken under one lease, oldest first."""

    lease: str
    numbers: tuple[int, ...]
    bodies: tuple[str, ...]
    attempt: int  # the highest of any of them


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many events wait for a subscriber, and since when the oldest does."""

    number: int
    oldest: datetime | None


class Outbox:
    """The outbox of one service."""

    def __init__(self, tables: EventTables, source: str, subscribers: Mapping[str, Sequence[str]]) -> None:
        self._table = tables.outbox
        self._source = source
        self._subscribers = subscribers  # by topic; an event that nobody wants is not written

    def add(self, session: Session, event: Event) -> None:
        subscribers = self._subscribers.get(event.topic)
        if not subscribers:
            return
        sealed, at = Sealed(self._source, event), now()
        row = {"key": sealed.key, "body": sealed.body, "created": at, "due": at, "attempts": 0}
        session.connection().execute(insert(self._table), [{"subscriber": one, **row} for one in subscribers])
        session.info[EMITTED] = True

    def has_due(self, session: Session, subscriber: str) -> bool:
        table = self._table
        due = select(table.c.seq).where(table.c.subscriber == subscriber, table.c.due <= now()).limit(1)
        return session.connection().execute(due).first() is not None

    def claim(self, session: Session, subscriber: str) -> Batch | None:
        """Take the oldest events that may go now, and keep others from taking them for a while.

        A key of which an older event is under way, or waits after a failure, is left alone: the order of
        its events is kept. Two that claim at once would not see each other's leases, so one waits.
        """
        if session.get_bind().dialect.name == "postgresql":
            session.connection().execute(text(f"SELECT pg_advisory_xact_lock({_CLAIM_LOCK})"))
        table, at = self._table, now()
        mine = table.c.subscriber == subscriber
        under_way = select(table.c.key).where(mine, table.c.due > at, table.c.sent_as.is_(None))
        free = (
            select(table.c.seq, table.c.body, table.c.attempts)
            .where(mine, table.c.due <= at, table.c.key.not_in(under_way))
            .order_by(table.c.seq)
            .limit(BATCH_MAX)
        )
        rows = session.connection().execute(free).all()
        if not rows:
            return None
        batch = Batch(
            new_id(),
            tuple(row.seq for row in rows),
            tuple(row.body for row in rows),
            max(row.attempts for row in rows) + 1,
        )
        taken = {"lease": batch.lease, "due": at + LEASE, "attempts": table.c.attempts + 1, **_NOT_SENT}
        session.connection().execute(update(table).where(table.c.seq.in_(batch.numbers)).values(taken))
        return batch

    def arrived(self, session: Session, batch: Batch) -> None:
        """Forget what the subscriber has. Whoever comes after the lease ended deletes nothing."""
        session.connection().execute(delete(self._table).where(*self._of(batch)))

    def sent(self, session: Session, batch: Batch, life: str, entries: Sequence[str]) -> None:
        """Note as what a broker has them; they have arrived when every reader has acknowledged them."""
        rows = [
            {"number": number, "entry": entry} for number, entry in zip(batch.numbers, entries, strict=True)
        ]
        table = self._table
        noted = (
            update(table)
            .where(table.c.seq == bindparam("number"), table.c.lease == batch.lease)
            .values(sent_as=bindparam("entry"), sent_in=life)
        )
        session.connection().execute(noted, rows)

    def acknowledged(self, session: Session, life: str, below: str) -> None:
        """Forget what all readers are done with, wait for the rest, and send again what was lost."""
        table, execute = self._table, session.connection().execute
        same = table.c.sent_in == life
        execute(delete(table).where(same, table.c.sent_as < below))
        execute(update(table).where(same).values(due=now() + LEASE))
        execute(update(table).where(table.c.sent_in != life).values(due=now(), **_NOT_SENT))

    def give_back(self, session: Session, batch: Batch, error: str, pause: timedelta) -> None:
        """Let them be taken again after a pause."""
        values = {"due": now() + pause, "lease": None, "last_error": error[:ERROR_CHARACTERS_MAX]}
        session.connection().execute(update(self._table).where(*self._of(batch)).values(values))

    def backlog(self, session: Session) -> dict[str, Backlog]:
        table = self._table
        numbers = select(table.c.subscriber, func.count(), func.min(table.c.created))
        rows = session.connection().execute(numbers.group_by(table.c.subscriber))
        return {row[0]: Backlog(row[1], row[2]) for row in rows}

    def _of(self, batch: Batch) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        return self._table.c.seq.in_(batch.numbers), self._table.c.lease == batch.lease
