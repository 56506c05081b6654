"""Events to send: written with the change, claimed under a lease, deleted once they have arrived."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    bindparam,
    delete,
    func,
    or_,
    select,
    text,
    update,
)
from sqlmodel import Session

from shared.clock import now
from shared.data.database import UtcDateTime, execute_in_driver
from shared.data.together import common_of
from shared.events.event import Event, Sealed
from shared.events.failpoints import reached
from shared.events.pace import FORGOTTEN_MAX
from shared.events.tables import EventTables
from shared.ids import new_id

OUTBOX = "outbox"  # the key in `session.info` of the service's outbox
EMITTED = "emitted"  # the key in `session.info` of the recipients of the session's events
BATCH_MAX = 100
LEASE = timedelta(seconds=30)
ERROR_CHARACTERS_MAX = 500
_CREATED = UtcDateTime()
_CLAIM_LOCK = 0x6761746568 + 1  # of an advisory lock: any number that nothing else in this database uses


def emit(session: Session, *events: Event) -> None:
    """Send events to their subscribers if and only if this transaction commits."""
    outbox: Outbox = session.info[OUTBOX]
    reached("emit: before")
    for event in events:
        outbox.add(session, event)
    reached("emit: after")


@dataclass(frozen=True, slots=True)
class Batch:
    """Events for one subscriber, claimed under one lease, oldest first."""

    lease: str
    numbers: tuple[int, ...]
    bodies: tuple[str, ...]
    attempt: int  # the highest attempt number of these events, counting this attempt
    life: str = ""  # the incarnation of the broker that the events are for


@dataclass(frozen=True, slots=True)
class Backlog:
    """The number of events waiting for a subscriber, and the time of the oldest."""

    number: int
    oldest: datetime


class Outbox:
    """The outbox of one service."""

    def __init__(self, tables: EventTables, source: str, subscribers: Mapping[str, Sequence[str]]) -> None:
        self._table = tables.outbox
        insert = f"INSERT INTO {tables.outbox.name} (subscriber, key, body, created, attempts) VALUES"
        self._insert = {
            "sqlite": f"{insert} (?, ?, ?, ?, 0)",
            "postgresql": f"{insert} (%s, %s, %s, %s, 0)",
        }
        some = f"SELECT 1 FROM {tables.outbox.name} WHERE sent_as IS NULL AND subscriber ="  # noqa: S608 - names of ours
        self._some = {"sqlite": f"{some} ? LIMIT 1", "postgresql": f"{some} %s LIMIT 1"}
        given = "unnest(%s::bigint[], %s::text[]) AS given (number, entry)"
        change = f"UPDATE {tables.outbox.name} SET sent_in = %s, sent_as = entry, leased_until = NULL"  # noqa: S608 - names of ours
        self._note_sent = f"{change} FROM {given} WHERE seq = number AND lease = %s"
        self._source = source
        self._subscribers = subscribers  # by topic; an event without subscribers is not written

    def add(self, session: Session, event: Event) -> None:
        subscribers = self._subscribers.get(event.topic)
        if not subscribers:
            return
        sealed = Sealed(self._source, event)
        connection = session.connection()
        statement = self._insert[connection.dialect.name]
        created = _CREATED.process_bind_param(now(), connection.dialect)
        common = common_of(session)
        for subscriber in subscribers:
            row = subscriber, sealed.key, sealed.body, created
            if common is None:
                execute_in_driver(connection, statement, row)
            else:
                common.insert(statement, row)
        session.info.setdefault(EMITTED, set()).update(subscribers)

    def has_waiting(self, session: Session, subscriber: str) -> bool:
        """Return whether events for a subscriber may be sent now. Usually there are none at all."""
        connection = session.connection()
        some = execute_in_driver(connection, self._some[connection.dialect.name], (subscriber,))
        if some.fetchone() is None:
            return False
        return connection.execute(self._free(subscriber).limit(1)).first() is not None

    def has_sent(self, session: Session) -> bool:
        sent = select(self._table.c.seq).where(self._table.c.sent_as.is_not(None)).limit(1)
        return session.connection().execute(sent).first() is not None

    def claim(self, session: Session, subscriber: str, life: str = "") -> Batch | None:
        """Lease the oldest events that may be sent now.

        Events sent to an earlier incarnation of the broker come first: they are older than all waiting ones.
        """
        self._one_at_a_time(session)
        if life:
            self._send_again(session, life)
        table, lease = self._table, new_id()
        taken = (
            update(table)
            .where(table.c.seq.in_(self._free(subscriber).limit(BATCH_MAX)))
            .values(lease=lease, leased_until=now() + LEASE)
            .returning(table.c.seq, table.c.body, table.c.attempts)
        )
        rows = sorted(session.connection().execute(taken).all())
        if not rows:
            return None
        numbers, bodies, attempts = zip(*rows, strict=True)
        return Batch(lease, numbers, bodies, max(attempts) + 1, life)

    def _free(self, subscriber: str) -> Select[tuple[int]]:
        """Select the events that may be claimed. To keep order, keys with events in flight are excluded."""
        table, at = self._table, now()
        mine = table.c.subscriber == subscriber
        # A lease that ends later than a new one would was taken before the clock was set back.
        is_leased = and_(table.c.leased_until > at, table.c.leased_until <= at + LEASE)
        return (
            select(table.c.seq)
            .where(mine, table.c.sent_as.is_(None))
            .where(table.c.key.not_in(select(table.c.key).where(mine, is_leased)))
            .order_by(table.c.seq)
        )

    def _one_at_a_time(self, session: Session) -> None:
        """Serialise claims, which would not see each other's leases. SQLite has one writer anyway."""
        if session.get_bind().dialect.name == "postgresql":
            session.connection().execute(text(f"SELECT pg_advisory_xact_lock({_CLAIM_LOCK})"))

    def arrived(self, session: Session, batch: Batch) -> None:
        """Delete the events that the subscriber has received, unless another relay has claimed them since."""
        session.connection().execute(delete(self._table).where(*self._of(batch)))

    def sent(self, session: Session, batch: Batch, entries: Sequence[str]) -> None:
        """Record the ids that the broker gave the events; rows stay until all readers acknowledge them."""
        self._one_at_a_time(session)  # otherwise a claim for the next incarnation could come in between
        connection = session.connection()
        if len(entries) != len(batch.numbers):
            raise ValueError(f"{len(entries)} entries for {len(batch.numbers)} events")
        if connection.dialect.name == "postgresql":
            numbers, named = [*batch.numbers], [*entries]
            execute_in_driver(connection, self._note_sent, (batch.life, numbers, named, batch.lease))
            return
        table = self._table
        noted = (
            update(table)
            .where(table.c.seq == bindparam("number"), table.c.lease == batch.lease)
            .values(sent_as=bindparam("entry"), sent_in=batch.life, leased_until=None)
        )
        pairs = zip(batch.numbers, entries, strict=True)
        connection.execute(noted, [{"number": number, "entry": entry} for number, entry in pairs])

    def acknowledged(self, session: Session, life: str, below: str) -> bool:
        """Delete some acknowledged events, release lost ones to be resent; return whether none remain.

        Deleting a whole backlog at once would block the writes of requests meanwhile.
        """
        table = self._table
        done = select(table.c.seq).where(table.c.sent_in == life, table.c.sent_as < below)
        some = done.order_by(table.c.sent_as).limit(FORGOTTEN_MAX)
        forgotten = session.connection().execute(delete(table).where(table.c.seq.in_(some))).rowcount
        self._send_again(session, life)
        return forgotten < FORGOTTEN_MAX

    def _send_again(self, session: Session, life: str) -> None:
        """Release events sent to an earlier incarnation of the broker, which may have lost them.

        Usually there are none. To find that out, read only the lowest and the highest value of an index: for
        a search without statistics, the planner would expect a third of the table and read all of it.
        """
        table, execute = self._table, session.connection().execute
        is_sent = table.c.sent_as.is_not(None)
        ends = (select(end(table.c.sent_in)).where(is_sent).scalar_subquery() for end in (func.min, func.max))
        if {*execute(select(*ends)).one()} <= {life, None}:
            return
        elsewhere = and_(is_sent, or_(table.c.sent_in < life, table.c.sent_in > life))
        execute(update(table).where(elsewhere).values(sent_as=None, sent_in=None))

    def give_back(self, session: Session, batch: Batch, error: str, *, was_tried: bool = False) -> None:
        """Release a batch. It counts as an attempt only if the subscriber got it and did not respond."""
        table = self._table
        changed = (
            update(table)
            .where(*self._of(batch))
            .values(
                leased_until=None,
                lease=None,
                last_error=error[:ERROR_CHARACTERS_MAX],
                attempts=table.c.attempts + int(was_tried),
            )
        )
        session.connection().execute(changed)

    def backlog(self, session: Session) -> dict[str, Backlog]:
        """Count the events of each subscriber; waiting and sent rows separately: each kind has an index."""
        table, execute = self._table, session.connection().execute
        found: dict[str, Backlog] = {}
        for state in (table.c.sent_as.is_not(None), table.c.sent_as.is_(None)):
            numbers = select(table.c.subscriber, func.count()).where(state).group_by(table.c.subscriber)
            oldest = select(table.c.created).where(state).order_by(table.c.seq).limit(1)
            for name, number in execute(numbers).all():
                since = execute(oldest.where(table.c.subscriber == name)).scalar_one()
                other = found.get(name, Backlog(0, since))
                found[name] = Backlog(other.number + number, min(other.oldest, since))
        return found

    def _of(self, batch: Batch) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        seq = self._table.c.seq
        return seq.between(batch.numbers[0], batch.numbers[-1]), self._table.c.lease == batch.lease
