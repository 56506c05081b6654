import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import select, update
from sqlalchemy.exc import NoResultFound

from shared.clock import now
from shared.data.database import Database
from shared.ids import new_id
from shared.work import duties
from shared.work.cron import Cron
from shared.work.duties import Duties, Duty, IsStopping
from shared.work.leased import GIVEN_UP_KEPT, Queue
from tests.shared.work.conftest import WORK

SECONDS = 20


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duties, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(duties, "RETRY_FIRST", timedelta(milliseconds=20))
    monkeypatch.setattr(duties, "TIDY_AFTER_SECONDS", 0.01)


class Counted:
    """Work that counts its runs, and lets the test wait for a count."""

    def __init__(self, fails: int = 0) -> None:
        self.times, self._fails = 0, fails
        self._changed = threading.Condition()
        self.active = self.active_max = 0

    def __call__(self, _: IsStopping) -> None:
        with self._changed:
            self.times += 1
            self.active += 1
            self.active_max = max(self.active, self.active_max)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.active > 1, 0.01)
            self.active -= 1
            if self.times <= self._fails:
                raise RuntimeError("not yet")

    async def reaches(self, times: int) -> None:
        def wait() -> bool:
            with self._changed:
                return self._changed.wait_for(lambda: self.times >= times, SECONDS)

        assert await asyncio.to_thread(wait), self.times


async def test_duty_runs_repeatedly_and_its_success_is_a_metric(database: Database) -> None:
    work = Counted()
    async with Duties(database, [Duty("counts", 0.01, work)]):
        await work.reaches(3)
    last = REGISTRY.get_sample_value("duty_last_success_timestamp_seconds", {"duty": "counts"})
    assert last is not None
    assert abs(now().timestamp() - last) < SECONDS


@pytest.mark.parametrize("alone", [True, False])
async def test_failing_duty_is_retried(database: Database, alone: bool) -> None:
    work, labels = Counted(fails=2), {"duty": f"fails {new_id()}"}
    async with Duties(database, [Duty(labels["duty"], 3600, work, alone=alone)], WORK):
        await work.reaches(3)
    assert REGISTRY.get_sample_value("duty_failures_total", labels) == 2


async def test_duty_runs_on_one_replica_at_a_time(database: Database) -> None:
    work = Counted()
    duty = Duty("alone", 0.0, work, alone=True)
    async with Duties(database, [duty], WORK), Duties(database, [duty], WORK), Duties(database, [duty], WORK):
        await work.reaches(12)
    assert work.active_max == 1


async def test_due_time_of_a_duty_survives_a_restart(database: Database) -> None:
    work, other = Counted(), Counted()
    daily = Duty("daily", 86_400, work, alone=True)
    async with Duties(database, [daily], WORK):
        await work.reaches(1)
    async with Duties(database, [daily, Duty("other", 0.01, other, alone=True)], WORK):
        await other.reaches(5)
    assert work.times == 1


async def test_duty_of_a_dead_replica_is_taken_over(database: Database) -> None:
    work = Counted()
    duty = Duty("orphaned", 3600, work, alone=True)
    with database.transaction() as session:
        queue = Queue(WORK, "duty:orphaned")
        queue.add_once(session, queue.name)
        assert queue.claim(session, 1)
    async with Duties(database, [duty], WORK):
        with database.transaction() as session:
            session.connection().execute(update(WORK.work).values(due=now() - timedelta(seconds=1)))
        await work.reaches(1)


async def test_working_duty_renews_its_lease(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that outlasts its lease is still started only once."""
    monkeypatch.setattr(duties, "LEASE_SECONDS_MAX", 3.0)  # survives a stall of two seconds
    begun: list[int] = []
    ended = threading.Event()

    def long(is_stopping: IsStopping) -> None:
        begun.append(1)
        threading.Event().wait(4)
        ended.set()

    duty = Duty("long", 3600, long, alone=True)
    async with Duties(database, [duty], WORK), Duties(database, [duty], WORK):
        assert await asyncio.to_thread(ended.wait, SECONDS)
    assert begun == [1]


async def test_duty_is_told_to_stop_and_awaited_and_releases_its_lease(database: Database) -> None:
    begun, ended = threading.Event(), threading.Event()

    def patient(is_stopping: IsStopping) -> None:
        begun.set()
        while not is_stopping():
            threading.Event().wait(0.01)
        ended.set()

    async with Duties(database, [Duty("patient", 3600, patient, alone=True)], WORK):
        await asyncio.to_thread(begun.wait, SECONDS)
    assert ended.is_set()
    with database.transaction(write=False) as session:
        [row] = session.connection().execute(select(WORK.work)).all()
    assert row.lease is None
    assert row.due <= now(), "another replica may do it at once"


async def test_duty_that_fails_while_stopping_is_not_started_again(database: Database) -> None:
    begun = threading.Event()

    def fails_late(is_stopping: IsStopping) -> None:
        begun.set()
        while not is_stopping():
            threading.Event().wait(0.01)
        raise RuntimeError("interrupted")

    async with asyncio.timeout(SECONDS), Duties(database, [Duty("fails late", 0, fails_late)]):
        await asyncio.to_thread(begun.wait, SECONDS)


def test_duty_that_runs_alone_needs_a_table(database: Database) -> None:
    with pytest.raises(TypeError, match="table of leased work"):
        Duties(database, [Duty("alone", 1, Counted(), alone=True)])


def due_of(database: Database, name: str) -> datetime:
    work = WORK.work
    with database.transaction(write=False) as session:
        at = (
            session.connection()
            .execute(select(work.c.due).where(work.c.queue == f"duty:{name}"))
            .scalar_one()
        )
    assert isinstance(at, datetime)
    return at


async def planned(database: Database, name: str) -> datetime:
    async with asyncio.timeout(SECONDS):
        while True:
            with suppress(NoResultFound):
                return due_of(database, name)
            await asyncio.sleep(0.01)


async def test_cron_duty_waits_for_its_time_and_then_runs_on_one_replica(database: Database) -> None:
    work, yearly = Counted(), Cron("0 0 1 1 *", "Europe/Berlin")
    duty = Duty("yearly", yearly, work, alone=True)
    new_year = yearly.next_after(now())
    async with Duties(database, [duty], WORK), Duties(database, [duty], WORK):
        assert await planned(database, "yearly") == new_year
        assert work.times == 0
        with database.transaction() as session:
            session.connection().execute(update(WORK.work).values(due=now() - timedelta(days=1)))
        await work.reaches(1)
    assert (work.times, work.active_max) == (1, 1)
    assert due_of(database, "yearly") == new_year


async def test_duties_of_a_process_are_planned_in_one_transaction(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duties, "LOOK_SECONDS", 3600.0)
    run, ran = database.run, list[str]()

    async def noted(work: Callable[..., Any], *arguments: Any) -> Any:
        ran.append(work.__name__)
        return await run(work, *arguments)

    monkeypatch.setattr(database, "run", noted)
    works = [Counted() for _ in range(3)]
    yearly = [Duty(f"yearly {number}", Cron("0 0 1 1 *"), Counted(), alone=True) for number in range(3)]
    often = [Duty(f"often {number}", 3600.0, work, alone=True) for number, work in enumerate(works)]
    async with Duties(database, [*yearly, *often], WORK), asyncio.timeout(SECONDS):
        for work in works:
            await work.reaches(1)
        while ran.count("_put_off") < len(works):  # noqa: ASYNC110 - it has no event, and follows the work
            await asyncio.sleep(0.01)
    assert all(due_of(database, duty.name) > now() for duty in yearly)
    assert sorted(ran) == ["_plan", *["_put_off"] * 3, *["claim"] * 3]


async def test_missed_times_are_made_up_for_by_one_run(database: Database) -> None:
    work = Counted()
    duty = Duty("hourly", Cron("0 * * * *"), work, alone=True)
    queue = Queue(WORK, "duty:hourly")
    with database.transaction() as session:
        queue.add_once(session, queue.name, str(duty.schedule), due=now() - timedelta(days=3))
    async with Duties(database, [duty], WORK):
        await work.reaches(1)
    assert work.times == 1
    assert timedelta(0) < due_of(database, "hourly") - now() <= timedelta(hours=1)


async def test_changed_schedule_takes_effect_at_once(database: Database) -> None:
    work, first = Counted(), Cron("0 0 1 1 *")
    async with Duties(database, [Duty("moved", first, work, alone=True)], WORK):
        await planned(database, "moved")
    changed = Cron("0 0 1 6 *")
    async with Duties(database, [Duty("moved", changed, work, alone=True)], WORK), asyncio.timeout(SECONDS):
        while due_of(database, "moved") != changed.next_after(now()):  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
    assert work.times == 0


def test_schedule_is_not_changed_while_a_replica_is_working(database: Database) -> None:
    queue = Queue(WORK, "duty:busy")
    with database.transaction() as session:
        queue.add_once(session, queue.name, "old")
        [leased] = queue.claim(session, 1)
        assert not queue.replan(session, queue.name, "new", now() + timedelta(hours=1))
        queue.renew(session, leased)
        queue.put_off(session, leased, timedelta(0), attempts=0)
        assert queue.replan(session, queue.name, "new", now() + timedelta(hours=1))
    assert due_of(database, "busy") > now()


def test_cron_duty_must_run_alone(database: Database) -> None:
    with pytest.raises(TypeError, match="alone=True"):
        Duties(database, [Duty("report", Cron("0 6 * * *"), Counted())], WORK)


async def test_rows_given_up_by_other_queues_are_deleted_after_a_while(database: Database) -> None:
    queue = Queue(WORK, "mail")
    with database.transaction() as session:
        queue.add(session, "")
        [leased] = queue.claim(session, 1)
        queue.give_up(session, leased, "no such address")
        old = now() - GIVEN_UP_KEPT - timedelta(days=1)
        session.connection().execute(update(WORK.work).values(given_up=old))
    async with Duties(database, [], queues=[queue]), asyncio.timeout(SECONDS):
        while database_rows(database):  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)


async def test_old_rows_are_not_deleted_while_the_process_starts(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duties, "TIDY_AFTER_SECONDS", 3600.0)
    tidied, work = Counted(), Counted()
    monkeypatch.setattr(Duties, "_tidy", lambda _, is_stopping: tidied(is_stopping))
    async with Duties(database, [Duty("often", 0.01, work)], queues=[Queue(WORK, "mail")]):
        await work.reaches(20)
    assert tidied.times == 0


def database_rows(database: Database) -> int:
    with database.transaction(write=False) as session:
        return len(session.connection().execute(select(WORK.work.c.id)).all())


def test_lease_of_a_duty_is_as_long_as_its_interval_within_limits() -> None:
    pauses: list[float | Cron] = [0.1, 20, 3600, Cron("0 6 * * *")]
    leases = [duties._queue(WORK, Duty("x", pause, Counted(), alone=True)).lease for pause in pauses]

    assert [lease.total_seconds() for lease in leases] == [5, 20, 60, 60]
