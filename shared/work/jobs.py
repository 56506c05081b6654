"""Jobs: long-running work that clients start, follow and cancel, and that another replica can resume.

A job is a history row and, until it ends, an item of leased work with the same id. The key of that work is
the subject, so only one job per kind and subject runs at a time across all replicas; the rest queue. Every
effect commits together with the job's cursor, under its lease, so it happens exactly once.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlmodel import Session

from shared.clock import now
from shared.data.database import Database, UtcDateTime, rows_where
from shared.errors import NotFound, TooManyRequests
from shared.events.failpoints import reached
from shared.ids import new_id
from shared.work.changes import NEW_JOB, Changes
from shared.work.leased import Leased, Queue, WorkTable

T = TypeVar("T")

LEASE = timedelta(seconds=15)
ATTEMPTS_MAX = 5
UNFINISHED_MAX = 100  # per owner
ENDED_MAX = 200  # per owner
ENDED_KEPT = timedelta(days=30)
TIDY_ROWS = 1_000
TEXT_CHARACTERS_MAX = 64 * 1024  # each of input, cursor and result
NOTE_CHARACTERS_MAX = 500
SUBJECT_CHARACTERS_MAX = 150


class State(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = (State.DONE, State.FAILED, State.CANCELLED)
Handler = Callable[["Running"], Awaitable[Mapping[str, Any] | None]]


class JobTables(WorkTable):
    """The tables of jobs and of the leased work they are built on."""

    def __init__(self, metadata: MetaData) -> None:
        super().__init__(metadata)
        self.jobs = Table(
            "jobs",
            metadata,
            Column("id", String(36), primary_key=True),
            Column("kind", String(50), nullable=False),
            Column("subject", String(150), nullable=False),
            Column("owner", String(36), nullable=False),
            Column("state", String(10), nullable=False),
            Column("input", Text, nullable=False),
            Column("cursor", Text),
            Column("progress", BigInteger, nullable=False, default=0),
            Column("total", BigInteger),
            Column("note", String(500)),
            Column("version", Integer, nullable=False, default=1),
            Column("cancel_asked", Boolean, nullable=False, default=False),
            Column("attempts", Integer, nullable=False, default=0),
            Column("result", Text),
            Column("error", String(500)),
            Column("created", UtcDateTime, nullable=False),
            Column("started", UtcDateTime),
            Column("ended", UtcDateTime),
            Index("ix_jobs_owner", "owner", "id"),
            Index("ix_jobs_owner_unfinished", "owner", **rows_where("ended IS NULL")),
            Index("ix_jobs_ended", "ended", **rows_where("ended IS NOT NULL")),
        )


@dataclass(frozen=True, slots=True)
class Kind:
    """How jobs of one kind run: an async handler, and how failures are retried."""

    handler: Handler
    attempts_max: int = ATTEMPTS_MAX
    pause_first: timedelta = timedelta(seconds=2)
    pause_max: timedelta = timedelta(minutes=5)


class CannotSucceed(Exception):
    """Raised by a handler: the job fails at once, and its owner sees the message."""


class Jobs:
    """The jobs of one service. Endpoints show only the kinds that are `shown`, by default all."""

    def __init__(
        self,
        tables: JobTables,
        kinds: Mapping[str, Kind],
        *,
        lease: timedelta = LEASE,
        shown: Sequence[str] | None = None,
    ) -> None:
        self.table, self.kinds, self.lease, self.shown = tables.jobs, kinds, lease, shown
        self.changes = Changes()
        self.queues = {
            name: Queue(tables, f"job:{name}", lease=lease, attempts_max=kind.attempts_max)
            for name, kind in kinds.items()
        }

    def start(self, session: Session, kind: str, subject: str, owner: str, **given: Any) -> str:
        """Start a job if and only if this transaction commits; return its id."""
        if len(subject) > SUBJECT_CHARACTERS_MAX:
            raise ValueError(f"the subject of a job has more than {SUBJECT_CHARACTERS_MAX} characters")
        table, job_id = self.table, new_id()
        unfinished = select(func.count()).where(table.c.owner == owner, table.c.ended.is_(None))
        if session.connection().execute(unfinished).scalar_one() >= UNFINISHED_MAX:
            raise TooManyRequests(f"You have {UNFINISHED_MAX} unfinished jobs; wait, or cancel some.")
        row = {"id": job_id, "kind": kind, "subject": subject, "owner": owner, "input": as_text(given)}
        state = {"state": State.WAITING, "created": now(), "progress": 0, "version": 1, "attempts": 0}
        self.queues[kind].add(session, "", work_id=job_id, key=subject)
        session.connection().execute(insert(table), [{**row, **state, "cancel_asked": False}])
        self.changes.note(session, NEW_JOB)
        return job_id

    def read(self, session: Session, job_id: str, owner: str | None = None) -> dict[str, Any]:
        """Return the row of a job; if an owner is given, only if the job belongs to them."""
        found = select(self.table).where(self.table.c.id == job_id)
        row = session.connection().execute(found).first()
        if row is None or owner not in (None, row.owner):
            raise NotFound
        return row._asdict()

    def show(self, session: Session, job_id: str, owner: str | None = None) -> dict[str, Any]:
        """Return the row of a job as `read` does, but only if its kind is shown."""
        row = self.read(session, job_id, owner)
        if self.shown is not None and row["kind"] not in self.shown:
            raise NotFound
        return row

    def cancel(self, session: Session, job_id: str) -> None:
        """Cancel a job: a waiting one ends at once, a running one soon. An ended job is not changed."""
        row = self.read(session, job_id)
        queue = self.queues.get(row["kind"])
        if row["ended"] is not None:
            return
        if queue is not None and queue.withdraw(session, job_id):
            self.end(session, job_id, State.CANCELLED)
            return
        asked = update(self.table).where(self.table.c.id == job_id, self.table.c.ended.is_(None))
        session.connection().execute(asked.values(cancel_asked=True, version=self.table.c.version + 1))
        self.changes.note(session, job_id)

    def forget(self, session: Session, owner: str) -> None:
        """Cancel the unfinished jobs of a deleted account, and delete its other jobs."""
        table, execute = self.table, session.connection().execute
        for job_id in execute(select(table.c.id).where(table.c.owner == owner, table.c.ended.is_(None))):
            self.cancel(session, job_id[0])
        execute(delete(table).where(table.c.owner == owner, table.c.ended.is_not(None)))

    # The following methods are for the runner.

    def claim(self, session: Session, kind: str, number: int) -> list[tuple[Leased, dict[str, Any]]]:
        """Claim jobs to run, and mark as failed those that crashed their worker on every attempt."""
        queue, table, started = self.queues[kind], self.table, []
        claimed = queue.claim(session, number)
        for leased in claimed:
            values = {"state": State.RUNNING, "attempts": leased.attempts}
            # With its type, because SQLite would store the time without a zone.
            values["started"] = func.coalesce(table.c.started, literal(now(), UtcDateTime))
            self.change(session, leased.id, **values)
            started.append((leased, self.read(session, leased.id)))
        self._fail_spent(session, queue)
        reached("job: starting")
        return started

    def _fail_spent(self, session: Session, queue: Queue) -> None:
        """Fail the jobs that claim() gave up on because they kept crashing their workers."""
        work, execute = queue.table, session.connection().execute
        spent = select(work.c.id, work.c.error).where(
            work.c.queue == queue.name, work.c.given_up.is_not(None)
        )
        for row in execute(spent.limit(TIDY_ROWS)).all():
            self.end(session, row.id, State.FAILED, error=row.error)
            execute(delete(work).where(work.c.id == row.id))

    def change(self, session: Session, job_id: str, **values: Any) -> None:
        table = self.table
        changed = update(table).where(table.c.id == job_id, table.c.ended.is_(None))
        session.connection().execute(changed.values(version=table.c.version + 1, **values))
        self.changes.note(session, job_id)

    def end(self, session: Session, job_id: str, state: State, **values: Any) -> None:
        """Record the outcome, and trim the owner's history."""
        self.change(session, job_id, state=state, ended=now(), **values)
        table, execute = self.table, session.connection().execute
        owner = execute(select(table.c.owner).where(table.c.id == job_id)).scalar_one()
        history = select(table.c.id).where(table.c.owner == owner, table.c.ended.is_not(None))
        older = history.order_by(table.c.id.desc()).offset(ENDED_MAX).limit(TIDY_ROWS)
        ids: Sequence[str] = execute(older).scalars().all()
        if ids:
            execute(delete(table).where(table.c.id.in_(ids)))

    def tidy(self, session: Session) -> None:
        """Delete old history."""
        table = self.table
        old = select(table.c.id).where(table.c.ended < now() - ENDED_KEPT)
        some = old.order_by(table.c.ended).limit(TIDY_ROWS)
        session.connection().execute(delete(table).where(table.c.id.in_(some)))
        for queue in self.queues.values():
            queue.tidy(session)


def as_text(value: Any) -> str:
    """Encode as JSON of limited length."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if len(text) > TEXT_CHARACTERS_MAX:
        raise ValueError(f"input, cursor and result have at most {TEXT_CHARACTERS_MAX} characters each")
    return text


class CancelAsked(Exception):
    """The job was cancelled. Handlers must not catch this."""


class Running:
    """A running job, as passed to its handler: the input, the cursor to resume from, and `do` for effects."""

    def __init__(self, jobs: Jobs, database: Database, leased: Leased, row: Mapping[str, Any]) -> None:
        self._jobs, self._database, self.leased = jobs, database, leased
        self.id: str = row["id"]
        self.kind: str = row["kind"]
        self.subject: str = row["subject"]
        self.owner: str = row["owner"]
        self.is_cancelled: bool = row["cancel_asked"]
        self.input: dict[str, Any] = json.loads(row["input"])
        self.cursor: Any = None if row["cursor"] is None else json.loads(row["cursor"])

    async def do(
        self,
        work: Callable[[Session], T],
        *,
        cursor: Any,
        progress: int | None = None,
        total: int | None = None,
        note: str | None = None,
    ) -> T:
        """Call `work(session)` and save cursor and progress, in one transaction under the lease.

        Raises LeaseLost if another replica has the job, and CancelAsked if its owner has cancelled it.
        """
        given = {"progress": progress, "total": total, "note": note and note[:NOTE_CHARACTERS_MAX]}
        values = {name: value for name, value in given.items() if value is not None}
        result = await self._database.run(self._step, work, {**values, "cursor": as_text(cursor)})
        reached("job: stepped")
        self.cursor = cursor
        return result

    async def tell(self, *, progress: int, total: int | None = None, note: str | None = None) -> None:
        """Save the progress only."""
        await self.do(lambda _: None, cursor=self.cursor, progress=progress, total=total, note=note)

    def _step(self, session: Session, work: Callable[[Session], T], values: dict[str, Any]) -> T:
        self.renew(session)
        if self.is_cancelled:
            raise CancelAsked
        result = work(session)
        reached("job: stepping")
        self._jobs.change(session, self.id, **values)
        return result

    def renew(self, session: Session) -> None:
        """Renew the lease, and check whether the job was cancelled."""
        self._jobs.queues[self.kind].renew(session, self.leased)
        self.is_cancelled = self._jobs.read(session, self.id)["cancel_asked"]
