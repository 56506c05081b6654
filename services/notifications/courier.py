"""Sends what is queued: several at once, by any number of replicas, each delivery by one of them.

An attempt is written before it is made. If a process dies after a provider has accepted a delivery but
before that is recorded, or if the response is lost, the next attempt knows of this one.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog
from prometheus_client import Counter
from sqlalchemy import bindparam, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from services.notifications.breaker import Breaker, Outcome
from services.notifications.deliveries import ATTEMPTS_MAX, Deliveries, State
from services.notifications.models import ATTEMPTS, DELIVERIES, ERROR_CHARACTERS_MAX
from services.notifications.preferences import timings_of
from services.notifications.queue_loop import QueueLoop
from services.notifications.reasons import Reason
from services.notifications.timing import DEFAULT
from shared.clock import now
from shared.data.database import Database, Deadlocked
from shared.errors import Problem
from shared.events.failpoints import reached
from shared.work.changes import Changes
from shared.work.leased import Leased, LeaseLost, clock, pause_after

RETRY_FIRST, RETRY_MAX = timedelta(seconds=30), timedelta(hours=6)
AWAY_FIRST, AWAY_MAX = timedelta(seconds=30), timedelta(minutes=30)
AFTER_UNKNOWN = timedelta(minutes=5)
_TAKEN, _ACCEPTED = Outcome("deferred", "taken"), Outcome("sent")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed delivery. `doubtful_since` is the start of the first attempt whose outcome is unknown."""

    leased: Leased
    number: int  # of the attempt
    row: dict[str, Any]
    text: Any  # what the carrier has read for it
    doubtful_since: datetime | None = None


class Carrier(Protocol):
    """How deliveries of one channel are made."""

    name: str
    sent: Counter  # attempts, by outcome

    def texts(self, session: Session, rows: Collection[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return what `send` needs, by template; a template that is missing belongs to a newer version."""

    async def send(self, job: Job) -> Outcome: ...

    async def close(self) -> None: ...


@dataclass(slots=True, eq=False)
class _Ended:
    """An attempt that has ended; `fault` says why its outcome could not be recorded."""

    job: Job
    outcome: Outcome
    fault: Exception | None = None


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a courier works, and when it gives up."""

    at_once: int
    seconds_max: float  # to wait for attempts when the service stops
    kept_for: timedelta
    retry_first: timedelta | None = None  # the usual pauses if there is none


class Courier(QueueLoop):
    """Sends while it is open: `async with Courier(…)`."""

    def __init__(
        self, database: Database, deliveries: Deliveries, changes: Changes, carrier: Carrier, pace: Pace
    ) -> None:
        super().__init__(deliveries.queue.name, f"{carrier.name}s", changes, pace.seconds_max)
        self._database, self._deliveries, self._carrier, self._pace = database, deliveries, carrier, pace
        self._breaker = Breaker(carrier.name)
        self._places = asyncio.Semaphore(pace.at_once)
        self._recording, self._ended = asyncio.Lock(), list[_Ended]()

    async def close(self) -> None:
        await self._carrier.close()

    async def turn(self) -> bool:
        """Make a few deliveries; return whether there were any."""
        if self._breaker.wait_seconds:
            await self._rest(self._breaker.wait_seconds)
        if self._stopping.is_set() or not await self._database.read(self._deliveries.queue.is_due):
            return False
        number = 1 if self._breaker.is_probing else 2 * self._pace.at_once
        claimed, jobs = await self._database.run(self._claim, number)
        ended = await asyncio.gather(*(self._handle(job) for job in jobs), return_exceptions=True)
        for job, fault in zip(jobs, ended, strict=True):
            if isinstance(fault, Exception):  # the lease expires, and it is sent again
                self._log(log.error, "interrupted", job.leased.body, exc_info=fault)
        return claimed > 0

    async def _handle(self, job: Job) -> None:
        async with self._places:
            outcome = Outcome("stopped") if self._stopping.is_set() else await self._carrier.send(job)
        reached(f"{self._deliveries.queue.name}: sent")
        self._breaker.note(outcome)
        self._carrier.sent.labels(outcome.kind).inc()
        try:
            await self._record(job, outcome)
        except LeaseLost:
            self._log(log.warning, "lease_lost", job.leased.body, outcome=outcome.kind)

    async def _record(self, job: Job, outcome: Outcome) -> None:
        """Record an outcome, together with those of attempts that end while others are being recorded."""
        mine = _Ended(job, outcome)
        self._ended.append(mine)
        async with self._recording:
            if mine in self._ended:
                some, self._ended = self._ended, []
                await self._record_all(some)
        if mine.fault is not None:
            raise mine.fault

    async def _record_all(self, some: Sequence[_Ended]) -> None:
        fault = await self._fault_of(some)
        is_of_all = isinstance(fault, Problem)  # for example, the database does not respond
        if fault is None or (is_of_all and not isinstance(fault, Deadlocked)):
            for one in some:
                one.fault = fault
            return
        for one in some:  # one of them caused it
            one.fault = await self._fault_of([one])
            # Once more: the other transaction, which may have claimed the same message, has ended by now.
            if isinstance(one.fault, IntegrityError | Deadlocked):
                one.fault = await self._fault_of([one])

    async def _fault_of(self, some: Sequence[_Ended]) -> Exception | None:
        """Record outcomes in one transaction; return why that failed."""
        settling = self._database.run(self._settle_all, some)
        (fault,) = await asyncio.gather(settling, return_exceptions=True)
        return fault if isinstance(fault, Exception) else None

    def _claim(self, session: Session, number: int) -> tuple[int, list[Job]]:
        """Lease deliveries, and write the attempts of those to send; return how many were leased, and these.

        Deliveries that no longer need to be sent are ended. Those that must wait for the end of quiet hours
        are put off, and so are those whose template belongs to a newer version.
        """
        queue = self._deliveries.queue
        claimed = {one.body: one for one in queue.claim(session, number)}
        found = select(DELIVERIES).where(DELIVERIES.c.id.in_(claimed))
        rows = {row["id"]: dict(row) for row in session.connection().execute(found).mappings()}
        texts = self._carrier.texts(session, rows.values())
        jobs, at = [], clock(session)  # the same clock decides what is due and what is quiet
        quiet, doubtful = _quiet_until(session, rows.values(), at), _doubtful(session, rows)
        silenced = self._deliveries.silenced(session, rows.values())  # since they were queued
        for delivery_id, leased in claimed.items():
            row = rows.get(delivery_id)
            if row is None:  # of an account that was deleted
                queue.finish(session, leased)
                continue
            reason = self._obsolete(row, at, silenced.get(delivery_id))
            if reason is not None:
                queue.finish(session, leased)
                self._deliveries.end(session, delivery_id, *reason)
            elif (until := quiet.get(delivery_id)) is not None:
                self._put_off(session, leased, until, planned=until)
            elif row["template"] not in texts:  # of a newer version, whose replicas can render it
                self._log(log.warning, "template_unknown", delivery_id, template=row["template"])
                self._put_off(session, leased, at + AFTER_UNKNOWN)
            else:
                since = doubtful.get(delivery_id)
                jobs.append(Job(leased, row["attempts"] + 1, row, texts[row["template"]], since))
        _write_attempts(session, jobs, at)
        return len(claimed), jobs

    def _put_off(self, session: Session, leased: Leased, until: datetime, **values: datetime) -> None:
        """Return a delivery to the queue; an attempt of a replica that died may have left it as `sending`."""
        self._deliveries.queue.put_off_until(session, leased, until, attempts=leased.attempts - 1)
        mine = update(DELIVERIES).where(DELIVERIES.c.id == leased.body)
        session.connection().execute(mine.values(state=State.QUEUED, **values))

    def _obsolete(
        self, row: dict[str, Any], at: datetime, silenced: Reason | None
    ) -> tuple[State, str] | None:
        if silenced is not None:
            return State.SUPPRESSED, silenced
        if row["expires"] is not None and row["expires"] <= at:
            return State.EXPIRED, "expired"
        if (row["planned"] or row["created"]) <= at - self._pace.kept_for:
            return State.FAILED, "too_old"
        return None

    def _settle_all(self, session: Session, some: Sequence[_Ended]) -> None:
        """Record outcomes; raise LeaseLost if another replica has one of the deliveries now."""
        # Locks in the order of a claim: the work, then its delivery.
        self._deliveries.queue.hold(session, [one.job.leased for one in some])
        sent = [one.job for one in some if one.outcome == _ACCEPTED]
        if sent:
            self._settle_sent(session, sent)
        for one in some:
            if one.outcome != _ACCEPTED:
                self._settle(session, one.job, one.outcome)
        reached(f"{self._deliveries.queue.name}: settling")

    def _settle_sent(self, session: Session, jobs: Sequence[Job]) -> None:
        """Record those that were sent and have no id of a provider, in a few statements for all of them."""
        self._deliveries.queue.finish_held(session, [job.leased for job in jobs])
        mine = ATTEMPTS.c.delivery_id == bindparam("of"), ATTEMPTS.c.number == bindparam("which")
        noted = update(ATTEMPTS).where(*mine).values(finished=now(), outcome=_ACCEPTED.kind)
        numbers = [{"of": job.row["id"], "which": job.number} for job in jobs]
        session.connection().execute(noted, numbers)
        self._deliveries.end_all(session, [job.row["id"] for job in jobs], State.SENT)

    def _settle(self, session: Session, job: Job, outcome: Outcome) -> None:
        """Record one outcome of any kind."""
        deliveries, leased, delivery_id = self._deliveries, job.leased, job.row["id"]
        if outcome.provider_id is not None and _is_taken(session, delivery_id, outcome.provider_id):
            outcome = _TAKEN
        error = outcome.error and outcome.error[:ERROR_CHARACTERS_MAX]
        noted = {"finished": now(), "outcome": outcome.kind, "code": outcome.code, "error": error}
        mine = ATTEMPTS.c.delivery_id == delivery_id, ATTEMPTS.c.number == job.number
        session.connection().execute(update(ATTEMPTS).where(*mine).values(noted))
        if outcome.kind == "sent":
            deliveries.queue.finish(session, leased)
            deliveries.end(session, delivery_id, State.SENT, provider_id=outcome.provider_id)
        elif outcome.kind == "refused" or (outcome.is_counted and leased.attempts >= ATTEMPTS_MAX):
            deliveries.queue.finish(session, leased)
            deliveries.end(session, delivery_id, State.FAILED, outcome.code, error)
            self._log(log.error, "failed", delivery_id, template=job.row["template"], code=outcome.code)
            if outcome.suppressed is not None:
                hashed = deliveries.channel, job.row["to_hash"]
                deliveries.suppressions.add_hash(session, *hashed, outcome.suppressed)
        else:
            counted = leased.attempts if outcome.is_counted else leased.attempts - 1
            deliveries.queue.put_off(session, leased, self._pause(outcome, job), attempts=counted)
            again = {"state": State.QUEUED, "code": outcome.code, "error": error}
            one = update(DELIVERIES).where(DELIVERIES.c.id == delivery_id)
            session.connection().execute(one.values(again))

    def _log(self, write: Callable[..., Any], what: str, delivery_id: str, **values: Any) -> None:
        name = self._carrier.name
        write(f"{name}_{what}", **{f"{name}_id": delivery_id}, **values)

    def _pause(self, outcome: Outcome, job: Job) -> timedelta:
        if outcome.kind == "stopped":
            return timedelta(0)
        if not outcome.is_counted:
            pause = pause_after(job.number, self._pace.retry_first or AWAY_FIRST, AWAY_MAX)
        else:
            pause = pause_after(job.leased.attempts, self._pace.retry_first or RETRY_FIRST, RETRY_MAX)
        pause *= random.uniform(0.8, 1.2)  # noqa: S311 - spreads retries, is no secret
        return max(pause, timedelta(seconds=outcome.retry_after or 0))


def _write_attempts(session: Session, jobs: Sequence[Job], at: datetime) -> None:
    execute = session.connection().execute
    if jobs:
        begun = [{"delivery_id": job.row["id"], "number": job.number, "started": at} for job in jobs]
        execute(ATTEMPTS.insert(), begun)
        mine = update(DELIVERIES).where(DELIVERIES.c.id.in_([job.row["id"] for job in jobs]))
        execute(mine.values(state=State.SENDING, attempts=DELIVERIES.c.attempts + 1))


def _quiet_until(
    session: Session, rows: Collection[Mapping[str, Any]], at: datetime
) -> dict[str, datetime | None]:
    """Return when quiet hours end, for deliveries that respect them: people may have changed them."""
    timed = {row["id"]: row["user_id"] for row in rows if row["planned"] is not None}
    timings = timings_of(session, set(timed.values()))
    return {one: timings.get(user_id, DEFAULT).quiet_until(at) for one, user_id in timed.items()}


def _doubtful(session: Session, delivery_ids: Collection[str]) -> dict[str, datetime]:
    """Return for each delivery the start of the first attempt that may have succeeded unnoticed."""
    table = ATTEMPTS.c
    unheard = or_(table.finished.is_(None), table.outcome == "unknown")
    columns = select(table.delivery_id, func.min(table.started, type_=table.started.type))
    found = columns.where(table.delivery_id.in_(delivery_ids), unheard).group_by(table.delivery_id)
    return {row[0]: row[1] for row in session.connection().execute(found)}


def _is_taken(session: Session, delivery_id: str, provider_id: str) -> bool:
    """Whether another delivery was found to have sent this message.

    That happens if both have the same text, and the other delivery had lost the response to its own attempt.
    Only one message was sent in that case, so this delivery is attempted again.
    """
    others = DELIVERIES.c.provider_id == provider_id, DELIVERIES.c.id != delivery_id
    return session.connection().execute(select(DELIVERIES.c.id).where(*others)).first() is not None
