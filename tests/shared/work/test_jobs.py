import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlmodel import Session

from shared.clock import now
from shared.data.database import Database
from shared.errors import NotFound, TooManyRequests
from shared.ids import new_id
from shared.work import jobs as jobs_module
from shared.work import runner
from shared.work.jobs import CancelAsked, Jobs, Kind, Running, State
from shared.work.leased import LeaseLost
from shared.work.runner import Runner
from tests.shared.work.conftest import EFFECTS, JOBS, WORK
from tests.shared.work.factory import make_jobs

OWNER = new_id()
SECONDS = 20


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "LOOK_SECONDS", 0.02)


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    return make_jobs()  # type: ignore[return-value]


async def start(database: Database, jobs: Jobs, kind: str, subject: str = "s", **given: Any) -> str:
    return await database.run(lambda session: jobs.start(session, kind, subject, OWNER, **given))


async def ended(database: Database, jobs: Jobs, job_id: str) -> dict[str, Any]:
    return await until(database, jobs, job_id, lambda row: row["ended"] is not None)


async def until(
    database: Database, jobs: Jobs, job_id: str, is_so: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    async with asyncio.timeout(SECONDS):
        while not is_so(row := await database.read(jobs.read, job_id)):  # noqa: ASYNC110 - a row has no event
            await asyncio.sleep(0.02)
    return row


def effects(session: Session) -> list[int]:
    return list(session.connection().execute(select(EFFECTS.c.number).order_by(EFFECTS.c.place)).scalars())


def number_of_work(session: Session) -> int:
    return session.connection().execute(select(func.count()).select_from(WORK.work)).scalar_one()


async def test_job_runs_reports_its_progress_and_leaves_no_work(database: Database, jobs: Jobs) -> None:
    job_id = await start(database, jobs, "count", total=3)
    async with Runner(jobs, database):
        row = await ended(database, jobs, job_id)

    assert (row["state"], row["progress"], row["total"], row["attempts"]) == (State.DONE, 3, 3, 1)
    assert row["result"] == '{"counted":3}'
    assert await database.read(effects) == [0, 1, 2]
    assert await database.read(number_of_work) == 0


async def test_job_begins_as_soon_as_it_is_committed_or_its_turn_has_come(
    database: Database, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LOOK_SECONDS", 3600.0)
    async with Runner(jobs, database):
        await ended(database, jobs, await start(database, jobs, "count", total=1))
        first = await start(database, jobs, "count", total=1)
        second = await start(database, jobs, "count", total=1)  # with the same subject, so it waits

        for job_id in (first, second):
            assert (await ended(database, jobs, job_id))["state"] == State.DONE


async def test_cancelled_waiting_job_never_runs(database: Database, jobs: Jobs) -> None:
    job_id = await start(database, jobs, "count", total=3)
    await database.run(jobs.cancel, job_id)
    second = await start(database, jobs, "count", total=1)
    async with Runner(jobs, database):
        await ended(database, jobs, second)
    assert (await database.read(jobs.read, job_id))["state"] == State.CANCELLED
    assert await database.read(effects) == [0]


async def test_cancelled_running_job_ends_and_frees_its_subject(database: Database, jobs: Jobs) -> None:
    job_id = await start(database, jobs, "count", total=2, pause=1000)
    async with Runner(jobs, database):
        await until(database, jobs, job_id, lambda row: row["progress"] == 1)
        second = await start(database, jobs, "count", total=1)
        await database.run(jobs.cancel, job_id)
        assert (await ended(database, jobs, job_id))["state"] == State.CANCELLED
        assert (await ended(database, jobs, second))["state"] == State.DONE
    assert await database.read(effects) == [0, 0]


async def test_no_effect_happens_after_a_job_was_cancelled(database: Database) -> None:
    """The step itself notices the cancellation, before the next renewal of the lease."""
    arrived, cancelled = asyncio.Event(), asyncio.Event()

    async def waits(job: Running) -> None:
        arrived.set()
        await cancelled.wait()
        with pytest.raises(CancelAsked):
            await job.do(never, cursor=1)
        raise CancelAsked

    jobs = Jobs(JOBS, {"waits": Kind(waits)}, lease=timedelta(hours=1))
    job_id = await start(database, jobs, "waits")
    async with Runner(jobs, database):
        await asyncio.wait_for(arrived.wait(), SECONDS)
        await database.run(jobs.cancel, job_id)
        cancelled.set()
        assert (await ended(database, jobs, job_id))["state"] == State.CANCELLED


async def test_failing_job_is_retried_and_its_owner_sees_no_details(database: Database, jobs: Jobs) -> None:
    job_id = await start(database, jobs, "fail")
    async with Runner(jobs, database):
        row = await ended(database, jobs, job_id)
    assert (row["state"], row["attempts"], row["error"]) == (State.FAILED, 3, runner.FAILED)
    assert await database.read(number_of_work) == 0


async def test_job_that_cannot_succeed_fails_at_once_with_its_reason(database: Database, jobs: Jobs) -> None:
    job_id = await start(database, jobs, "refuse")
    async with Runner(jobs, database):
        row = await ended(database, jobs, job_id)
    assert (row["state"], row["attempts"], row["error"]) == (State.FAILED, 1, "There is no such month.")


async def test_jobs_of_one_subject_run_one_after_another_across_two_replicas(
    database: Database, jobs: Jobs
) -> None:
    active: list[str] = []

    async def alone(job: Running) -> None:
        active.append(job.subject)
        assert active.count(job.subject) == 1
        await job.tell(progress=1)
        active.remove(job.subject)

    jobs = Jobs(JOBS, {"alone": Kind(alone, attempts_max=1)})
    ids = [await start(database, jobs, "alone", subject) for subject in "aabb" * 3]
    async with Runner(jobs, database), Runner(make_other(jobs), database):
        assert {(await ended(database, jobs, one))["state"] for one in ids} == {State.DONE}


def make_other(jobs: Jobs) -> Jobs:
    return Jobs(JOBS, jobs.kinds)


async def test_job_running_at_shutdown_is_resumed_by_another_replica(database: Database, jobs: Jobs) -> None:
    job_id = await start(database, jobs, "count", total=60, pause=0.01)
    async with Runner(jobs, database):
        await until(database, jobs, job_id, lambda row: row["progress"] >= 3)
    row = await database.read(jobs.read, job_id)
    assert (row["state"], row["ended"]) == (State.WAITING, None)
    async with Runner(make_other(jobs), database):
        row = await ended(database, jobs, job_id)
    assert (row["state"], row["attempts"]) == (State.DONE, 1), "a handover does not count as an attempt"
    assert await database.read(effects) == [*range(60)]


async def test_handler_that_lost_its_lease_has_no_effect(database: Database) -> None:
    """Another replica has claimed the job meanwhile, as after a pause of this process."""
    arrived, go, lost = asyncio.Event(), asyncio.Event(), asyncio.Event()
    attempts: list[int] = []

    async def waits(job: Running) -> None:
        attempts.append(job.leased.attempts)
        if job.leased.attempts == 1:
            arrived.set()
            await go.wait()
            with pytest.raises(LeaseLost):
                await job.do(never, cursor="mine")
            lost.set()

    jobs = Jobs(JOBS, {"waits": Kind(waits)}, lease=timedelta(hours=1))
    job_id = await start(database, jobs, "waits")
    async with Runner(jobs, database):
        await asyncio.wait_for(arrived.wait(), SECONDS)
        await database.run(expire)
        row = await ended(database, jobs, job_id)  # by the second attempt
        go.set()
        await asyncio.wait_for(lost.wait(), SECONDS)
        assert row["state"] == State.DONE
    assert attempts == [1, 2]
    assert await database.read(jobs.read, job_id) == row


def never(_: Session) -> None:
    pytest.fail("it must not have this effect")


def expire(session: Session) -> None:
    session.connection().execute(update(WORK.work).values(due=now() - timedelta(seconds=1)))


async def test_owner_has_a_limited_number_of_unfinished_jobs(
    database: Database, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "UNFINISHED_MAX", 2)
    for subject in "ab":
        await start(database, jobs, "count", subject, total=1)
    with pytest.raises(TooManyRequests):
        await start(database, jobs, "count", "c", total=1)
    await database.run(lambda session: jobs.start(session, "count", "c", new_id(), total=1))


async def test_history_is_limited_in_number_and_age(
    database: Database, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "ENDED_MAX", 3)
    ids = [await start(database, jobs, "count", total=1) for _ in range(5)]
    for job_id in ids:
        await database.run(jobs.cancel, job_id)

    def left(session: Session) -> list[str]:
        return list(session.connection().execute(select(JOBS.jobs.c.id).order_by(JOBS.jobs.c.id)).scalars())

    assert await database.read(left) == ids[2:]

    def age(session: Session) -> None:
        old = now() - jobs_module.ENDED_KEPT - timedelta(seconds=1)
        aged = update(JOBS.jobs).where(JOBS.jobs.c.id != ids[4]).values(ended=old)
        session.connection().execute(aged)

    await database.run(age)
    await database.run(jobs.tidy)
    assert await database.read(left) == ids[4:]


async def test_old_jobs_are_not_deleted_while_the_process_starts(
    database: Database, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    tidied = asyncio.Event()

    async def tidy(_: Runner) -> None:
        tidied.set()

    monkeypatch.setattr(Runner, "_tidy", tidy)
    async with Runner(jobs, database):
        await ended(database, jobs, await start(database, jobs, "count", total=1))
    assert not tidied.is_set()
    monkeypatch.setattr(runner, "TIDY_AFTER_SECONDS", 0.0)
    async with Runner(jobs, database), asyncio.timeout(SECONDS):
        await tidied.wait()


async def test_jobs_of_a_deleted_account_are_deleted(database: Database, jobs: Jobs) -> None:
    waiting, done = [await start(database, jobs, "count", one, total=0) for one in "ab"]
    await database.run(jobs.cancel, done)
    await database.run(jobs.forget, OWNER)
    for job_id in (waiting, done):
        with pytest.raises(NotFound):
            await database.read(jobs.read, job_id)


@pytest.mark.parametrize("given", [{"text": "x" * 70_000}])
async def test_input_that_is_too_long_is_refused(
    database: Database, jobs: Jobs, given: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="at most 65536"):
        await start(database, jobs, "count", **given)
