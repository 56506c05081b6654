"""Runs the jobs of a service in the background: claims, renews and cancels them, hands over at drain."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

import structlog
from prometheus_client import Gauge
from sqlmodel import Session

from shared.data.database import Database, TookTooLong
from shared.errors import Overloaded, Problem, Unavailable
from shared.events.failpoints import reached
from shared.process.tasks import end
from shared.work.changes import NEW_JOB
from shared.work.duties import TIDY_AFTER_SECONDS, TIDY_SECONDS
from shared.work.jobs import (
    NOTE_CHARACTERS_MAX,
    CancelAsked,
    CannotSucceed,
    Jobs,
    Kind,
    Running,
    State,
    as_text,
)
from shared.work.leased import Leased, LeaseLost, pause_after

T = TypeVar("T")

LOOK_SECONDS = 0.5
BEATS = 8  # renewals per lease duration
AFTER_FAULT_SECONDS = 5.0
RUNNING_MAX = 4  # per replica
AWAY_PAUSE = timedelta(seconds=10)
FAILED = "It failed on our side; the log has the reason."

RUNNING = Gauge("jobs_running", "Jobs running in this process", multiprocess_mode="livesum")

log = structlog.get_logger(__name__)


class Runner:
    """Runs jobs while it is open: `async with Runner(jobs, database)`."""

    def __init__(self, jobs: Jobs, database: Database, *, running_max: int = RUNNING_MAX) -> None:
        self._jobs, self._database, self._running_max = jobs, database, running_max
        self._stopping = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._stopping.clear()
        self._loops = [
            asyncio.create_task(self._look_for_work(), name="jobs: look"),
            asyncio.create_task(self._keep_tidy(), name="jobs: tidy"),
        ]
        self._database.on_commit.append(self._jobs.changes.committed)
        if not self._database.is_sqlite:
            listening = self._always(self._listen, AFTER_FAULT_SECONDS)
            self._loops.append(asyncio.create_task(listening, name="jobs: listen"))
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Hand over running jobs: another replica, or the next start, resumes them from their cursors."""
        self._stopping.set()
        await end(self._loops)
        self._database.on_commit.remove(self._jobs.changes.committed)
        if self._running:
            await asyncio.wait(self._running)

    async def _always(
        self,
        work: Callable[[], Any],
        seconds: float,
        rest: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        while True:
            try:
                await work()
            except Problem as error:
                log.warning("jobs_paused", error=repr(error))
                await asyncio.sleep(AFTER_FAULT_SECONDS)
            except Exception:
                log.exception("jobs_interrupted")
                await asyncio.sleep(AFTER_FAULT_SECONDS)
            else:
                await rest(seconds)

    async def _look_for_work(self) -> None:
        """Claim jobs as soon as one starts or ends here; poll for retries and for other processes."""
        with self._jobs.changes.following(NEW_JOB) as follower:
            await self._always(self._look, LOOK_SECONDS, follower.woken)

    async def _keep_tidy(self) -> None:
        await asyncio.sleep(TIDY_AFTER_SECONDS)
        await self._always(self._tidy, TIDY_SECONDS)

    async def _tidy(self) -> None:
        await self._database.run(self._jobs.tidy)

    async def _listen(self) -> None:
        await self._jobs.changes.listen(self._database)

    async def _look(self) -> None:
        if len(self._running) >= self._running_max:
            return
        for name in await self._database.read(self._due):
            free = self._running_max - len(self._running)
            if free <= 0:
                return
            # A claimed job must run, even if the service stops during the claim.
            claiming = asyncio.ensure_future(self._database.run(self._jobs.claim, name, free))
            claiming.add_done_callback(self._begin)
            await asyncio.wait([claiming])
            claiming.result()

    def _due(self, session: Session) -> list[str]:
        return [name for name, queue in self._jobs.queues.items() if queue.is_due(session)]

    def _begin(self, claiming: "asyncio.Future[list[tuple[Leased, dict[str, Any]]]]") -> None:
        if claiming.cancelled() or claiming.exception() is not None:
            return
        for leased, row in claiming.result():
            task = asyncio.create_task(self._run(leased, row), name=f"job: {leased.id}")
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            task.add_done_callback(lambda _: self._jobs.changes.wake(NEW_JOB))  # the next in line
            task.add_done_callback(lambda _: RUNNING.set(len(self._running)))
        RUNNING.set(len(self._running))

    async def _run(self, leased: Leased, row: Mapping[str, Any]) -> None:
        running = Running(self._jobs, self._database, leased, row)
        kind = self._jobs.kinds[running.kind]
        work = asyncio.create_task(_handle(kind, running), name=f"job: {running.kind}")
        beside = [
            asyncio.create_task(self._beat(running), name="job: lease"),
            asyncio.create_task(self._stopping.wait(), name="job: stop"),
        ]
        await asyncio.wait([work, *beside], return_when=asyncio.FIRST_COMPLETED)
        await end([work, *beside])
        for task in beside:
            if not task.cancelled() and task.exception() is not None:
                log.error("job_lease_failed", job_id=running.id, error=repr(task.exception()))
        try:
            await self._database.run(self._settle, running, kind, work)
        except LeaseLost:
            log.warning("job_lost", job_id=running.id, kind=running.kind)
        except Problem as error:  # it resumes once its lease has expired
            log.warning("job_not_settled", job_id=running.id, error=repr(error))
        except Exception:
            log.exception("job_not_settled", job_id=running.id)

    async def _beat(self, running: Running) -> None:
        """Renew the lease until it is lost or the job is cancelled."""
        while not running.is_cancelled:
            await asyncio.sleep(self._jobs.lease.total_seconds() / BEATS)
            try:
                await self._database.run(running.renew)
            except LeaseLost:
                return
            except Problem as error:
                log.warning("job_lease_not_renewed", job_id=running.id, error=repr(error))

    def _settle(
        self, session: Session, running: Running, kind: Kind, work: "asyncio.Task[Mapping[str, Any] | None]"
    ) -> None:
        """Record the outcome of a handler; raise LeaseLost if another replica has the job now."""
        queue, leased = self._jobs.queues[running.kind], running.leased
        error = None if work.cancelled() else work.exception()
        if isinstance(error, LeaseLost):
            raise error
        if not work.cancelled() and error is None:
            queue.finish(session, leased)
            result = work.result()
            text = None if result is None else as_text(dict(result))
            self._jobs.end(session, running.id, State.DONE, result=text)
        elif running.is_cancelled:
            queue.finish(session, leased)
            self._jobs.end(session, running.id, State.CANCELLED)
        elif self._stopping.is_set() and work.cancelled():
            queue.put_off(session, leased, timedelta(0), attempts=leased.attempts - 1)
            self._jobs.change(session, running.id, state=State.WAITING)
        elif isinstance(error, Unavailable | Overloaded) and not isinstance(error, TookTooLong):
            # A dependency was unreachable, which is not the fault of the job.
            queue.put_off(session, leased, AWAY_PAUSE, attempts=leased.attempts - 1)
            self._jobs.change(session, running.id, state=State.WAITING, error=error.detail)
        else:
            self._fail(session, running, kind, error or asyncio.CancelledError())
        reached("job: settling")

    def _fail(self, session: Session, running: Running, kind: Kind, error: BaseException) -> None:
        queue, leased = self._jobs.queues[running.kind], running.leased
        is_final = isinstance(error, CannotSucceed) or leased.attempts >= queue.attempts_max
        log.error("job_failed", job_id=running.id, kind=running.kind, is_final=is_final, exc_info=error)
        reason = str(error)[:NOTE_CHARACTERS_MAX] if isinstance(error, CannotSucceed) else FAILED
        if is_final:
            queue.finish(session, leased)
            self._jobs.end(session, running.id, State.FAILED, error=reason)
        else:
            queue.retry(
                session, leased, pause_after(leased.attempts, kind.pause_first, kind.pause_max), FAILED
            )
            self._jobs.change(session, running.id, state=State.WAITING, error=reason)


async def _handle(kind: Kind, running: Running) -> Mapping[str, Any] | None:
    if running.is_cancelled:  # it was cancelled before its previous process died
        raise CancelAsked
    return await kind.handler(running)
