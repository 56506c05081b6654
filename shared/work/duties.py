"""Recurring background work of a service: sweeping, scanning, signing.

A duty that runs `alone` runs on one replica at a time, under a lease: it is a row of leased work that is put
off instead of finished, so that its due time survives restarts. Other duties run on every replica.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self

import structlog
from prometheus_client import Counter, Gauge
from sqlmodel import Session

from shared.data.database import Database
from shared.errors import Problem
from shared.process.tasks import end
from shared.work.cron import Cron, Every
from shared.work.leased import Leased, LeaseLost, Queue, WorkTable, clock, pause_after

LOOK_SECONDS = 5.0  # how often a replica checks for due duties
LEASE_SECONDS_MIN, LEASE_SECONDS_MAX = 5.0, 60.0
RETRY_FIRST = timedelta(seconds=1)
RETRY_MAX = timedelta(minutes=5)
TIDY_SECONDS = 600.0
TIDY_AFTER_SECONDS = 30.0  # a process that starts has more urgent work, and so have its replicas
BEATS = 4  # renewals per lease duration

SUCCESS = Gauge(
    "duty_last_success_timestamp_seconds",
    "When this process last completed the duty",
    ["duty"],
    multiprocess_mode="livemax",
)
FAILURES = Counter("duty_failures_total", "How often a duty failed", ["duty"])

log = structlog.get_logger(__name__)

IsStopping = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Duty:
    """Work that is repeated a number of seconds after it last ended, or at the times of a Cron.

    `work` blocks, in its own thread, and polls its argument to learn whether to stop early. With `alone`, one
    replica at a time does it; a Cron requires that. After failures the pause grows up to `retry_max`.
    """

    name: str
    schedule: float | Cron
    work: Callable[[IsStopping], None]
    alone: bool = False
    retry_max: timedelta = RETRY_MAX
    after: float = 0.0  # seconds between the start of the process and the first run

    @property
    def times(self) -> Cron | Every:
        return self.schedule if isinstance(self.schedule, Cron) else Every(self.schedule)

    @property
    def seconds(self) -> float:
        """The approximate interval."""
        return LEASE_SECONDS_MAX if isinstance(self.schedule, Cron) else self.schedule


class Duties:
    """The duties of a service, open while it runs: `beside=[Duties(database, […], WORK)]`.

    Duties that run alone need the `table` of leased work. `queues` are the service's other queues, whose
    given-up rows are tidied as well.
    """

    def __init__(
        self,
        database: Database,
        duties: Sequence[Duty],
        table: WorkTable | None = None,
        *,
        queues: Sequence[Queue] = (),
    ) -> None:
        self._database, self._duties = database, list(duties)
        self._queues: dict[str, Queue] = {}
        for duty in duties:
            if isinstance(duty.schedule, Cron) and not duty.alone:
                raise TypeError(f"the duty {duty.name} has a cron schedule, which requires alone=True")
            if duty.alone:
                if table is None:
                    raise TypeError(
                        f"the duty {duty.name} has alone=True, which requires a table of leased work"
                    )
                self._queues[duty.name] = _queue(table, duty)
        self._to_tidy = [*self._queues.values(), *queues]
        if self._to_tidy:
            self._duties.append(Duty("tidy_work", TIDY_SECONDS, self._tidy, after=TIDY_AFTER_SECONDS))
        self._stopping = threading.Event()
        self._planned: set[str] = set()
        self._found: dict[str, bool] = {}  # whether a duty was due when it was planned

    async def __aenter__(self) -> Self:
        self._stopping.clear()
        self._planning = asyncio.Lock()
        self._threads = ThreadPoolExecutor(len(self._duties) or 1, thread_name_prefix="duty")
        self._tasks = [
            asyncio.create_task(self._do_always(duty), name=f"duty: {duty.name}") for duty in self._duties
        ]
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        for task in self._tasks:
            task.cancel()  # only once: a second cancellation would interrupt the clean-up after a duty
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._threads.shutdown(wait=False)  # its threads are idle

    async def _do_always(self, duty: Duty) -> None:
        failures = 0
        turn = self._in_turn if duty.alone else self._at_once
        await asyncio.sleep(duty.after)
        while True:
            try:
                pause = await turn(duty)
                failures = 0
            except Exception as error:  # noqa: BLE001 - the duty is retried after any error
                failures += 1
                pause = pause_after(failures, RETRY_FIRST, duty.retry_max).total_seconds()
                _note_failure(duty, error)
            await asyncio.sleep(pause)

    async def _at_once(self, duty: Duty) -> float:
        await self._work(duty, self._stopping.is_set)
        return duty.seconds

    async def _in_turn(self, duty: Duty) -> float:
        """Run the duty if it is due and not running elsewhere; return the seconds until the next check."""
        queue = self._queues[duty.name]
        look = min(LOOK_SECONDS, duty.seconds)
        if not await self._is_due(duty, queue):
            return look
        claimed = await self._database.run(queue.claim, 1)
        for leased in claimed:
            await self._under_lease(duty, queue, leased)
        return look

    async def _is_due(self, duty: Duty, queue: Queue) -> bool:
        if duty.name in self._planned:
            return await self._database.read(queue.is_due)
        async with self._planning:
            if duty.name not in self._found:
                self._found = await self._database.run(self._plan)
        if duty.name not in self._found:
            return False  # a replica with another schedule is running it
        self._planned.add(duty.name)
        return self._found.pop(duty.name)

    def _plan(self, session: Session) -> dict[str, bool]:
        """Plan all duties in one transaction, in the same order in every replica; return which are due."""
        alone = sorted((one for one in self._duties if one.alone), key=lambda one: one.name)
        return {
            one.name: self._queues[one.name].is_due(session)
            for one in alone
            if one.name not in self._planned and _plan(session, self._queues[one.name], one)
        }

    async def _under_lease(self, duty: Duty, queue: Queue, leased: Leased) -> None:
        """Run the duty, and always release the lease, with the delay that the outcome calls for."""
        after, attempts = None, 0
        stop = _Stop(self._stopping)
        beat = asyncio.create_task(self._beat(queue, leased), name=f"duty: lease of {duty.name}")
        try:
            await self._work(duty, stop)
        except Exception as error:  # noqa: BLE001 - as above
            _note_failure(duty, error)
            after, attempts = pause_after(leased.attempts, RETRY_FIRST, duty.retry_max), leased.attempts
        finally:
            await end([beat])
            if stop.was_told:  # it stopped early: another replica may do the rest at once
                after = timedelta(0)
            try:
                await asyncio.shield(self._database.run(_put_off, queue, leased, duty, after, attempts))
            except LeaseLost:
                log.warning("duty_lease_lost", duty=duty.name)

    async def _beat(self, queue: Queue, leased: Leased) -> None:
        while True:
            await asyncio.sleep(queue.lease.total_seconds() / BEATS)
            try:
                await self._database.run(queue.renew, leased)
            except LeaseLost:
                return
            except Problem as error:
                log.warning("duty_lease_not_renewed", queue=queue.name, error=repr(error))

    async def _work(self, duty: Duty, is_stopping: IsStopping) -> None:
        """Run the duty in a worker thread to completion: on cancellation it is told to stop, then awaited."""
        loop = asyncio.get_running_loop()
        working = loop.run_in_executor(self._threads, duty.work, is_stopping)
        await _to_its_end(working)
        SUCCESS.labels(duty.name).set(time.time())

    def _tidy(self, is_stopping: IsStopping) -> None:
        for queue in self._to_tidy:
            if not is_stopping():
                with self._database.transaction() as session:
                    queue.tidy(session)


def _queue(table: WorkTable, duty: Duty) -> Queue:
    lease = timedelta(seconds=min(max(duty.seconds, LEASE_SECONDS_MIN), LEASE_SECONDS_MAX))
    return Queue(table, f"duty:{duty.name}", lease=lease, attempts_max=2**31 - 2)


def _plan(session: Session, queue: Queue, duty: Duty) -> bool:
    """Add the duty's row, or reschedule it if the schedule has changed; return False while it is leased.

    A cron duty waits for its next time; an interval duty is due at once.
    """
    due, body = clock(session), str(duty.times)
    if isinstance(duty.schedule, Cron):
        due = duty.schedule.next_after(due)
    is_added = queue.add_once(session, queue.name, body, due=due)
    return is_added or queue.replan(session, queue.name, body, due)


def _put_off(
    session: Session, queue: Queue, leased: Leased, duty: Duty, after: timedelta | None, attempts: int
) -> None:
    at = clock(session)
    due = duty.times.next_after(at) if after is None else at + after
    queue.put_off_until(session, leased, due, attempts=attempts)


class _Stop:
    """Returns whether to stop, and remembers whether the work has seen that."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping, self.was_told = stopping, False

    def __call__(self) -> bool:
        self.was_told = self.was_told or self._stopping.is_set()
        return self.was_told


async def _to_its_end(working: "asyncio.Future[None]") -> None:
    is_cancelled = False
    while not working.done():
        try:
            await asyncio.wait([working])
        except asyncio.CancelledError:  # the thread cannot be interrupted
            is_cancelled = True
    if is_cancelled:  # even if the work failed; otherwise the duty would be started again
        raise asyncio.CancelledError
    working.result()


def _note_failure(duty: Duty, error: Exception) -> None:
    FAILURES.labels(duty.name).inc()
    if isinstance(error, Problem):
        log.warning("duty_failed", duty=duty.name, error=repr(error))
    else:
        log.error("duty_failed", duty=duty.name, exc_info=error)
