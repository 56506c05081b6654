"""Received events that could not be applied yet, queued by key.

Only the first event of a key has a due time. Later ones have none (NEVER) and get one when the first is
applied, dropped or dead. So an index finds the next event to try, whether ten are parked or a million.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import (
    Column,
    ColumnElement,
    Row,
    Table,
    and_,
    delete,
    func,
    or_,
    select,
    text,
    update,
)
from sqlmodel import Session

from shared.clock import now
from shared.data.bulk import insert_rows, one_of
from shared.data.database import execute_in_driver
from shared.events.event import Envelope
from shared.events.pace import FORGOTTEN_MAX

ATTEMPTS_MAX = 8
PAUSE_FIRST = timedelta(seconds=2)
PAUSE_MAX = timedelta(minutes=15)
ATTEMPT_SECONDS_MAX = timedelta(minutes=2)
RUN_MAX = 100  # events tried in one transaction
COUNTED_MAX = 100_000  # for metrics: counting more would only take longer
REASON_CHARACTERS_MAX = 500
NEVER = datetime(9999, 12, 31, tzinfo=UTC)
DEADLY = "it crashed the process or took too long"
_LINE_LOCK = (
    0x6761746568 + 2
)  # the key of an advisory lock in PostgreSQL, used for nothing else in this database

log = structlog.get_logger(__name__)


class Parked:
    """The parked events of one service; `blocking` says which of the consumed topics block."""

    def __init__(self, table: Table, blocking: Mapping[str, bool]) -> None:
        self._table = table
        self._blocking = blocking

    def behind(self, session: Session, envelopes: Iterable[Envelope]) -> set[str]:
        """Return the keys whose events must wait for a parked one, at least until this transaction ends."""
        keys = {one.key for one in envelopes}
        held = self._held(session, keys)
        if held and _is_postgresql(session):
            # Otherwise the parked event could be applied before the events that wait for it are committed,
            # and nothing would ever make them due.
            session.connection().execute(text(f"SELECT pg_advisory_xact_lock_shared({_LINE_LOCK})"))
            held = self._held(session, keys)
        return held

    def _held(self, session: Session, keys: set[str]) -> set[str]:
        table = self._table
        held = select(table.c.key).where(one_of(session, table.c.key, keys), _holds(table)).distinct()
        return {row.key for row in session.connection().execute(held)}

    def put(
        self,
        session: Session,
        envelopes: Sequence[Envelope],
        reason: str,
        *,
        attempts: int = 0,
        dead: bool = False,
        held: Iterable[str] = (),
    ) -> None:
        """Park events; an event waits if an earlier event with its key is parked or in this batch."""
        at, waiting = now(), {*held}
        rows = []
        for one in envelopes:
            due = at + (PAUSE_FIRST if attempts else timedelta())
            row = {
                "id": one.id,
                "topic": one.topic,
                "key": one.key,
                "body": one.model_dump_json(),
                "received": at,
                "due": NEVER if dead or one.key in waiting else due,
                "attempts": attempts,
                "dead": dead,
                "blocks": self._blocking[one.topic],
                "reason": reason,
            }
            rows.append(row)
            waiting.add(one.key)
        insert_rows(session, self._table, rows)

    def is_anything_due(self, session: Session) -> bool:
        table, connection = self._table, session.connection()
        any_at_all = f"SELECT 1 FROM {table.name} LIMIT 1"  # noqa: S608 - a name of ours
        if execute_in_driver(connection, any_at_all, ()).fetchone() is None:
            return False  # the usual case, at a fraction of the cost
        oldest = select(table.c.seq).order_by(table.c.due).limit(1)
        return any(connection.execute(oldest.where(due)).first() is not None for due in _due(table))

    def claim(self, session: Session) -> list[Row[Any]]:
        """Claim the events to try next. The attempt is counted in advance, so that a crash counts too.

        Events that were never tried are claimed in batches, in order per key; those that failed, or were in
        progress when a process died, are claimed alone.
        """
        lock_line(session)
        ready = self._first_in_line(session)
        tried = [row for row in ready if row.attempts]
        if tried and tried[0] is ready[0]:
            rows = [] if self._is_given_up(session, tried[0]) else tried[:1]
        else:
            rows = self._runs(session, [row for row in ready if not row.attempts])
        if rows:
            table = self._table
            taken = {"attempts": rows[0].attempts + 1, "due": now() + ATTEMPT_SECONDS_MAX}
            here = table.c.seq.in_([row.seq for row in rows])
            claimed = update(table).where(here).values(taken).returning(table)
            rows = sorted(session.connection().execute(claimed).all(), key=lambda row: row.seq)
        return rows

    def _first_in_line(self, session: Session) -> list[Row[Any]]:
        """Return the due events; events found to be waiting for another one lose their due time."""
        table, execute = self._table, session.connection().execute
        before = table.alias()
        is_behind = (
            select(before.c.seq)
            .where(before.c.key == table.c.key, before.c.seq < table.c.seq, _holds(before))
            .exists()
        )
        for due in _due(table):
            found = select(table, is_behind.label("is_behind")).where(due)
            rows = execute(found.order_by(table.c.due, table.c.seq).limit(RUN_MAX)).all()
            if rows:
                break
        timeless = [row.seq for row in rows if row.dead or row.is_behind]
        unknown = [row.seq for row in rows if row.topic not in self._blocking and row.seq not in timeless]
        for seqs, time in ((timeless, NEVER), (unknown, now() + PAUSE_MAX)):
            if seqs:
                execute(update(table).where(table.c.seq.in_(seqs)).values(due=time))
        return [row for row in rows if row.seq not in {*timeless, *unknown}]

    def _runs(self, session: Session, first: Sequence[Row[Any]]) -> list[Row[Any]]:
        """Return these events and those waiting for them, up to one that must be tried alone."""
        table = self._table
        runs: list[Row[Any]] = []
        for row in first:
            if len(runs) >= RUN_MAX:
                break
            behind = select(table).where(table.c.key == row.key, table.c.seq >= row.seq)
            line = behind.order_by(table.c.seq).limit(RUN_MAX - len(runs))
            for one in session.connection().execute(line).all():
                if one.dead and not one.blocks:
                    continue
                if one.dead or one.attempts or one.topic not in self._blocking:
                    break
                runs.append(one)
        return runs

    def _is_given_up(self, session: Session, row: Row[Any]) -> bool:
        """Give up an event if every attempt at it has killed the process; return whether it was given up."""
        if row.attempts < ATTEMPTS_MAX:
            return False
        reason = f"{DEADLY}; before that: {row.reason}"[:REASON_CHARACTERS_MAX]
        log.error("event_dead", topic=row.topic, event_id=row.id, reason=reason)
        values = {"dead": True, "due": NEVER, "reason": reason}
        session.connection().execute(update(self._table).where(self._are_claimed([row])).values(values))
        self.advance(session, [row.key])
        return True

    def take_out(self, session: Session, rows: Sequence[Row[Any]]) -> bool:
        """Delete claimed events, and return whether all were still claimed by us. Call this first.

        Until the transaction ends, no event can be queued after them.
        """
        lock_line(session)
        gone = delete(self._table).where(self._are_claimed(rows))
        return session.connection().execute(gone).rowcount == len(rows)

    def keep(self, session: Session, row: Row[Any]) -> None:
        """Extend the claim on the next event of a key, in the transaction that applies the one before.

        If the claim has expired meanwhile, another process has found the event to be waiting for that one,
        and taken its due time. Nothing would make it due again if this process died now.
        """
        kept = update(self._table).where(self._are_claimed([row]))
        session.connection().execute(kept.values(due=now() + ATTEMPT_SECONDS_MAX))

    def put_back(self, session: Session, row: Row[Any], error: Exception, *, reason: str, dead: bool) -> None:
        dead = dead or row.attempts >= ATTEMPTS_MAX
        write = log.error if dead else log.warning
        write("event_dead" if dead else "event_failed", topic=row.topic, event_id=row.id, error=repr(error))
        lock_line(session)
        pause = min(PAUSE_FIRST * 2**row.attempts, PAUSE_MAX)
        values = {"dead": dead, "due": NEVER if dead else now() + pause, "reason": reason}
        changed = update(self._table).where(self._are_claimed([row])).values(values)
        if session.connection().execute(changed).rowcount and dead:
            self.advance(session, [row.key])

    def release(self, session: Session, rows: Sequence[Row[Any]]) -> None:
        """Take back the attempt of events that were claimed but not tried."""
        changed = update(self._table).where(self._are_claimed(rows))
        values = {"attempts": rows[0].attempts - 1, "due": now()}
        session.connection().execute(changed.values(values))

    def advance(self, session: Session, keys: Iterable[str]) -> None:
        """Make the first remaining event of each key due now."""
        table, execute = self._table, session.connection().execute
        for key in sorted({*keys}):
            line = select(table.c.seq, table.c.dead).where(table.c.key == key, _holds(table))
            first = execute(line.order_by(table.c.seq).limit(1)).first()
            if first is not None and not first.dead:
                execute(update(table).where(table.c.seq == first.seq, table.c.due > now()).values(due=now()))

    def forget_dead(self, session: Session, received_before: datetime) -> bool:
        """Delete some old dead events; return whether none remain.

        Deleting a month of them at once would keep requests from writing in the meantime.
        """
        table, execute = self._table, session.connection().execute
        old = select(table.c.seq, table.c.key).where(table.c.dead, table.c.received < received_before)
        rows = execute(old.order_by(table.c.received, table.c.seq).limit(FORGOTTEN_MAX)).all()
        if rows:
            lock_line(session)
            # An operator may have replayed one before we had the lock.
            execute(delete(table).where(table.c.seq.in_([row.seq for row in rows]), table.c.dead))
            self.advance(session, [row.key for row in rows])
        return len(rows) < FORGOTTEN_MAX

    def census(self, session: Session) -> tuple[int, int]:
        """Return the numbers of events to retry and of dead ones, each counted up to COUNTED_MAX."""
        is_dead = self._table.c.dead
        return self._number(session, ~is_dead), self._number(session, is_dead)

    def _number(self, session: Session, state: ColumnElement[bool]) -> int:
        table = self._table
        some = select(table.c.seq).where(state).order_by(table.c.received, table.c.seq).limit(COUNTED_MAX)
        return session.connection().execute(select(func.count()).select_from(some.subquery())).scalar_one()

    def _are_claimed(self, rows: Sequence[Row[Any]]) -> ColumnElement[bool]:
        """Match rows that are still under this claim: every claim increases `attempts`."""
        table = self._table
        same = and_(table.c.attempts == rows[0].attempts, table.c.dead.is_(False))
        return and_(table.c.id.in_([row.id for row in rows]), same)


def lock_line(session: Session) -> None:
    """Keep events from being queued after parked ones until commit. SQLite has one writer anyway."""
    if _is_postgresql(session):
        session.connection().execute(text(f"SELECT pg_advisory_xact_lock({_LINE_LOCK})"))


def _is_postgresql(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"


def _holds(table: Any) -> ColumnElement[bool]:
    """Whether a parked event holds back the later ones of its key."""
    return or_(table.c.dead.is_(False), table.c.blocks)


def _due(table: Any) -> tuple[ColumnElement[bool], ...]:
    """Return two index ranges: events that are due, and events due later than the longest pause.

    The latter were scheduled before the clock was set back.
    """
    due: Column[datetime] = table.c.due
    at = now()
    return (due <= at, and_(due > at + PAUSE_MAX, due < NEVER))
