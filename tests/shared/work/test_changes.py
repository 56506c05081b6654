"""Followers of a job wake when it changes; polling is disabled in these tests."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
from sqlmodel import Session

from shared.data.database import Database
from shared.ids import new_id
from shared.work import changes, runner
from shared.work.jobs import Jobs
from shared.work.operations import _changes
from shared.work.runner import Runner
from tests.shared.work.factory import make_jobs

SECONDS = 20


@pytest.fixture(autouse=True)
def no_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "LOOK_SECONDS", 3600.0)
    monkeypatch.setattr(changes, "LOOK_SECONDS_LISTENING", 3600.0)
    monkeypatch.setattr(changes, "SPACING_SECONDS", 0.0)
    monkeypatch.setattr(runner, "AFTER_FAULT_SECONDS", 0.05)


@pytest.fixture
async def other(database: Database) -> AsyncIterator[Database]:
    """The same database, opened as by another process."""
    opened = Database(database.url.render_as_string(hide_password=False))
    yield opened
    opened.close()


async def start(jobs: Jobs, database: Database) -> str:
    return await database.run(lambda session: jobs.start(session, "count", "s", new_id(), total=1))


async def change(jobs: Jobs, database: Database, job_id: str, number: int) -> None:
    await database.run(lambda session: jobs.change(session, job_id, progress=number))


async def heard(jobs: Jobs) -> None:
    async with asyncio.timeout(SECONDS):
        while not jobs.changes.are_heard:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)


async def test_follower_wakes_on_each_commit_of_its_own_process(database: Database) -> None:
    jobs = make_jobs()
    async with Runner(jobs, database, running_max=0), asyncio.timeout(SECONDS):
        job_id = await start(jobs, database)
        followed = _changes(jobs, database, job_id, 0)
        assert '"progress":0' in (await anext(followed)).data
        for number in (1, 2, 3):
            waiting = asyncio.ensure_future(anext(followed))
            await change(jobs, database, job_id, number)
            assert f'"progress":{number}' in (await waiting).data
        waiting = asyncio.ensure_future(anext(followed))
        await database.run(jobs.cancel, job_id)
        assert (await waiting).name == "end"
        assert [event async for event in followed] == []
    assert jobs.changes._followers == {}
    assert database.on_commit == []


async def test_follower_is_not_woken_by_a_rollback(database: Database) -> None:
    jobs = make_jobs()
    job_id = await start(jobs, database)  # before anyone listens: its notification could come late
    async with Runner(jobs, database, running_max=0):
        if not database.is_sqlite:
            await heard(jobs)  # which wakes everyone once
        with jobs.changes.following(job_id) as follower:
            with pytest.raises(ZeroDivisionError):
                await database.run(change_and_fail, jobs, job_id)
            await asyncio.sleep(0)  # pending callbacks have now run
            assert not follower._event.is_set()


def change_and_fail(session: Session, jobs: Jobs, job_id: str) -> None:
    jobs.change(session, job_id, progress=1)
    raise ZeroDivisionError


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_follower_wakes_when_another_process_commits(database: Database, other: Database) -> None:
    jobs, elsewhere = make_jobs(), make_jobs()
    async with Runner(jobs, database, running_max=0), asyncio.timeout(SECONDS):
        await heard(jobs)
        job_id = await start(jobs, database)
        followed = _changes(jobs, database, job_id, 0)
        await anext(followed)
        for number in (1, 2, 3):
            waiting = asyncio.ensure_future(anext(followed))
            await change(elsewhere, other, job_id, number)
            assert f'"progress":{number}' in (await waiting).data
        await followed.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_lost_connection_wakes_followers_and_is_reestablished(
    database: Database, other: Database
) -> None:
    jobs, elsewhere = make_jobs(), make_jobs()
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    async with Runner(jobs, database, running_max=0), asyncio.timeout(SECONDS):
        await heard(jobs)
        job_id = await start(jobs, database)
        with jobs.changes.following(job_id) as follower:
            async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN %'"
                )
            await follower.changed()
            await heard(jobs)
            follower._event.clear()
            await change(elsewhere, other, job_id, 1)
            await follower.changed()


async def test_follower_without_notifications_polls(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "LOOK_SECONDS", 0.01)
    jobs = make_jobs()
    with jobs.changes.following(new_id()) as follower:
        async with asyncio.timeout(SECONDS):
            await follower.changed()
