"""A work queue for several processes: added with a change, claimed under a lease, deleted when done.

A claim sets `due` to the time at which the lease expires, so a dead worker needs no clean-up: its work is
due again then. Every later step checks the lease token, and raises LeaseLost if another worker has claimed
the work meanwhile, which rolls the transaction back.

Of the rows with the same key only the first has a due time; the others wait (NEVER) and become due when the
first is finished, given up or withdrawn. So no two of them run at once, and a claim reads only the rows that
it takes, whether ten are waiting or a million.

Lock order on PostgreSQL: the row, then the lock of its key, then the next row of the key.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import (
    Column,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    delete,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlmodel import Session

from shared.clock import now
from shared.data.database import UtcDateTime, insert_into, rows_where
from shared.events.failpoints import reached
from shared.ids import new_id

LEASE = timedelta(seconds=30)
ATTEMPTS_MAX = 8
BODY_CHARACTERS_MAX = 64 * 1024
ERROR_CHARACTERS_MAX = 500
GIVEN_UP_KEPT = timedelta(days=30)
GIVEN_UP_ROWS_MAX = 1_000  # per queue
TIDY_ROWS = 1_000  # per transaction
NEVER = datetime(9999, 12, 31, tzinfo=UTC)
SPENT = "it crashed the process or took too long"
_IN_LINE = "key IS NOT NULL AND given_up IS NULL"
_KEY_LOCKS = 0x676174  # of advisory locks: any number that nothing else in this database uses

log = structlog.get_logger(__name__)


class LeaseLost(Exception):
    """Another worker has this work now, or it is gone: nothing done for it may be committed."""


class WorkTable:
    """The table that holds all queues of a service."""

    def __init__(self, metadata: MetaData) -> None:
        leased = rows_where("lease IS NOT NULL")
        self.work = Table(
            "work",
            metadata,
            Column("id", String(60), primary_key=True),
            Column("queue", String(60), nullable=False),
            Column("key", String(200)),
            Column("body", Text, nullable=False),
            Column("created", UtcDateTime, nullable=False),
            Column("due", UtcDateTime, nullable=False),  # while leased: the end of the lease
            Column("attempts", Integer, nullable=False, default=0),
            Column("lease", String(36)),
            Column("error", String(500)),
            Column("given_up", UtcDateTime),
            Index("ix_work_due", "queue", "due", "id"),
            Index("ix_work_key", "queue", "key", "due", "id", **rows_where(_IN_LINE)),
            Index("ix_work_leased", "queue", "due", **leased),
            Index("ix_work_leased_key", "queue", "key", unique=True, **leased),
            Index("ix_work_given_up", "queue", "given_up", **rows_where("given_up IS NOT NULL")),
        )


@dataclass(frozen=True, slots=True)
class Leased:
    """An item of work under a lease; `attempts` includes the current attempt."""

    id: str
    token: str
    key: str | None
    body: str
    attempts: int


class Queue:
    """One named queue in the service's work table.

    Every method takes the caller's session, so that a step commits together with the effect that it records.
    """

    def __init__(
        self, table: WorkTable, name: str, *, lease: timedelta = LEASE, attempts_max: int = ATTEMPTS_MAX
    ) -> None:
        self.table, self.name = table.work, name
        self.lease, self.attempts_max = lease, attempts_max

    def add(
        self,
        session: Session,
        body: str,
        *,
        work_id: str | None = None,
        key: str | None = None,
        after: timedelta = timedelta(0),
    ) -> str:
        """Add work if and only if this transaction commits; it is due after `after`.

        With a key it waits for earlier work of that key to end; after such a wait it is due at once.
        """
        if len(body) > BODY_CHARACTERS_MAX:
            raise ValueError(f"the body of work has more than {BODY_CHARACTERS_MAX} characters")
        at, work_id = clock(session), work_id or new_id()
        due = at + after
        if key is not None:
            self._lock_key(session, key)
            if self._first_of(session, key) is not None:
                due = NEVER
        session.connection().execute(insert(self.table), [self._row(work_id, body, key, at, due)])
        return work_id

    def add_all(self, session: Session, some: Mapping[str, tuple[str, timedelta]]) -> None:
        """Add work without a key, in one statement: its bodies and pauses by id."""
        at = clock(session)
        rows = [self._row(one, body, None, at, at + after) for one, (body, after) in some.items()]
        if rows:
            session.connection().execute(insert(self.table), rows)

    def add_once(
        self, session: Session, work_id: str, body: str = "", *, due: datetime | None = None
    ) -> bool:
        """Add work, by default due now, unless there is work with this id; return whether it was added."""
        at = clock(session)
        row = insert_into(session, self.table).values(self._row(work_id, body, None, at, due or at))
        added = row.on_conflict_do_nothing().returning(self.table.c.id)
        return session.connection().execute(added).first() is not None

    def replan(self, session: Session, work_id: str, body: str, due: datetime) -> bool:
        """Reschedule idle work if the body differs; return whether it now has this body."""
        table, execute = self.table, session.connection().execute
        is_idle = or_(table.c.lease.is_(None), table.c.due <= clock(session))
        other = update(table).where(table.c.id == work_id, table.c.body != body, is_idle)
        execute(other.values(body=body, due=due, lease=None, attempts=0))
        found = select(table.c.body).where(table.c.id == work_id)
        return execute(found).scalar_one_or_none() == body

    def _row(
        self, work_id: str, body: str, key: str | None, created: datetime, due: datetime
    ) -> dict[str, Any]:
        times = {"created": created, "due": due}
        return {"id": work_id, "queue": self.name, "key": key, "body": body, "attempts": 0, **times}

    def is_due(self, session: Session) -> bool:
        """Whether a claim would find anything; this only reads, so it blocks no writer."""
        table = self.table
        waiting = select(table.c.id).where(table.c.queue == self.name, table.c.due <= clock(session))
        return session.connection().execute(waiting.order_by(table.c.due).limit(1)).first() is not None

    def claim(self, session: Session, number: int, *, among: Collection[str] | None = None) -> list[Leased]:
        """Lease the work that has been due longest; with `among`, only work with one of these ids.

        The attempt is counted before it is made. Work that has no attempts left is given up instead, because
        it killed its worker in the last attempt.
        """
        table, at = self.table, clock(session)
        wanted = [table.c.queue == self.name, table.c.due <= at]
        if among is not None:
            wanted.append(table.c.id.in_(among))
        due = (
            select(table.c.id)
            .where(*wanted)
            .order_by(table.c.due, table.c.id)
            .limit(number)
            .with_for_update(skip_locked=True)
            .cte("claimable")  # a subquery could be evaluated repeatedly, and lock other rows each time
        )
        values = {"lease": new_id(), "due": at + self.lease, "attempts": table.c.attempts + 1}
        claimed = (
            update(table)
            .where(table.c.id.in_(select(due.c.id)))
            .values(values)
            .returning(table.c.id, table.c.lease, table.c.key, table.c.body, table.c.attempts)
        )
        found = [Leased(*row) for row in session.connection().execute(claimed)]
        reached("work: claiming")
        for one in found:
            if one.attempts > self.attempts_max:
                self.give_up(session, one, SPENT)
        return sorted((one for one in found if one.attempts <= self.attempts_max), key=lambda one: one.id)

    def postpone(self, session: Session, work_ids: Collection[str], after: timedelta) -> int:
        """Let idle work whose time has come wait for `after`, in one statement; return how many."""
        table, at = self.table, clock(session)
        mine = table.c.id.in_(work_ids), table.c.queue == self.name
        idle = select(table.c.id).where(*mine, table.c.lease.is_(None), table.c.due <= at)
        locked = idle.order_by(table.c.id).with_for_update(skip_locked=True).cte("postponable")
        later = update(table).where(table.c.id.in_(select(locked.c.id))).values(due=at + after)
        number: int = session.connection().execute(later).rowcount
        return number

    def renew(self, session: Session, leased: Leased) -> None:
        """Renew the lease; as the first step of a transaction it protects the following ones."""
        self._change(session, leased, due=clock(session) + self.lease)

    def finish(self, session: Session, leased: Leased) -> None:
        """Delete work that is done, and make the next of its key due."""
        table = self.table
        gone = delete(table).where(table.c.id == leased.id, table.c.lease == leased.token)
        if not session.connection().execute(gone).rowcount:
            raise LeaseLost
        self._advance(session, leased.key)
        reached("work: finishing")

    def hold(self, session: Session, some: Collection[Leased]) -> None:
        """Lock several items before they are changed in one transaction; raise LeaseLost if one is lost.

        All transactions that hold several lock them in the same order, so no two wait for each other.
        """
        table, ids = self.table, [one.id for one in some]
        locking = select(table.c.id, table.c.lease).where(table.c.id.in_(ids)).order_by(table.c.id)
        held = {row.id: row.lease for row in session.connection().execute(locking.with_for_update())}
        if held != {one.id: one.token for one in some}:
            raise LeaseLost

    def finish_held(self, session: Session, some: Collection[Leased]) -> None:
        """Delete several items that are done and held, in one statement."""
        gone = delete(self.table).where(self.table.c.id.in_([one.id for one in some]))
        session.connection().execute(gone)
        for one in some:
            self._advance(session, one.key)
        reached("work: finishing")

    def retry(self, session: Session, leased: Leased, after: timedelta, error: str) -> bool:
        """Make failed work due again after `after`; return False if its attempts are used up."""
        if leased.attempts >= self.attempts_max:
            self.give_up(session, leased, error)
            return False
        due = clock(session) + after
        self._change(session, leased, due=due, lease=None, error=error[:ERROR_CHARACTERS_MAX])
        return True

    def put_off(self, session: Session, leased: Leased, after: timedelta, *, attempts: int) -> None:
        """Make work due again without a failure, and set its number of attempts."""
        self.put_off_until(session, leased, clock(session) + after, attempts=attempts)

    def put_off_until(self, session: Session, leased: Leased, due: datetime, *, attempts: int) -> None:
        self._change(session, leased, due=due, lease=None, attempts=attempts)

    def give_up(self, session: Session, leased: Leased, reason: str) -> None:
        """Give up on work; its row is kept for a while with the reason."""
        log.error("work_given_up", queue=self.name, work_id=leased.id, reason=reason[:ERROR_CHARACTERS_MAX])
        reason = reason[:ERROR_CHARACTERS_MAX]
        self._change(session, leased, due=NEVER, lease=None, given_up=clock(session), error=reason)
        self._advance(session, leased.key)

    def withdraw(self, session: Session, work_id: str) -> bool:
        """Delete work unless a worker has it or it has ended; return whether it was deleted."""
        table = self.table
        idle = select(table.c.id, table.c.key).where(table.c.id == work_id, table.c.queue == self.name)
        idle = idle.where(table.c.lease.is_(None), table.c.given_up.is_(None))
        row = session.connection().execute(idle.with_for_update(skip_locked=True)).first()
        if row is None:
            return False
        session.connection().execute(delete(table).where(table.c.id == row.id))
        self._advance(session, row.key)
        return True

    def tidy(self, session: Session) -> None:
        """Delete old given-up rows, and end leases prolonged by setting the clock back."""
        table, execute = self.table, session.connection().execute
        at = clock(session)
        mine, was_given_up = table.c.queue == self.name, table.c.given_up.is_not(None)
        kept = select(table.c.given_up).where(mine, was_given_up).order_by(table.c.given_up.desc())
        oldest = execute(kept.offset(GIVEN_UP_ROWS_MAX).limit(1)).scalar()
        limit = max(filter(None, [oldest, at - GIVEN_UP_KEPT]))
        old = select(table.c.id).where(mine, was_given_up, table.c.given_up <= limit).limit(TIDY_ROWS)
        execute(delete(table).where(table.c.id.in_(old)))
        # Twice the length: a lease that another worker takes right now ends a little after at + lease.
        prolonged = [mine, table.c.lease.is_not(None), table.c.due > at + 2 * self.lease]
        execute(update(table).where(*prolonged).values(due=at))

    def _change(self, session: Session, leased: Leased, **values: Any) -> None:
        table = self.table
        mine = update(table).where(table.c.id == leased.id, table.c.lease == leased.token)
        if not session.connection().execute(mine.values(values)).rowcount:
            raise LeaseLost

    def _first_of(self, session: Session, key: str) -> tuple[str, datetime] | None:
        """Return id and due time of a key's runnable work, or else of the work that has waited longest."""
        table = self.table
        line = select(table.c.id, table.c.due).where(table.c.queue == self.name, table.c.key == key)
        line = line.where(table.c.given_up.is_(None)).order_by(table.c.due, table.c.id).limit(1)
        first = session.connection().execute(line).first()
        return None if first is None else (first.id, first.due)

    def _advance(self, session: Session, key: str | None) -> None:
        """Make the next work of a key due, unless other work of that key is runnable."""
        if key is None:
            return
        self._lock_key(session, key)
        first, table = self._first_of(session, key), self.table
        if first is not None and first[1] == NEVER:
            begins = update(table).where(table.c.id == first[0]).values(due=clock(session))
            session.connection().execute(begins)

    def _lock_key(self, session: Session, key: str) -> None:
        """Lock a key: no work of it is added or advanced until commit. SQLite has one writer anyway."""
        if session.get_bind().dialect.name == "postgresql":
            locking = text("SELECT pg_advisory_xact_lock(:kind, hashtext(:key))")
            session.connection().execute(locking, {"kind": _KEY_LOCKS, "key": f"{self.name}\n{key}"})


def clock(session: Session) -> datetime:
    """Return the time shared by all replicas: the database server's, or this machine's with SQLite."""
    if session.get_bind().dialect.name == "sqlite":
        return now()
    at: datetime = session.connection().execute(text("SELECT statement_timestamp()")).scalar_one()
    return at


def pause_after(attempts: int, first: timedelta, longest: timedelta) -> timedelta:
    """Return the pause after a failed attempt; it doubles with each attempt."""
    doublings: int = 2 ** min(attempts - 1, 20)
    return min(first * doublings, longest)
