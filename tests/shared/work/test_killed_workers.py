"""Replicas are killed and stopped: each effect happens once, and jobs of one subject never overlap."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.context import ForkServerProcess

import pytest
from sqlalchemy import func, insert, select, text
from sqlmodel import Session

from shared.data.database import Database
from shared.ids import new_id
from shared.work.jobs import State
from tests.shared.work.conftest import EFFECTS, JOBS
from tests.shared.work.factory import make_jobs, replica
from tests.support import eventually, length

SECONDS = 40
STEPS = [
    "work: claiming",
    "job: starting",
    "job: stepping",
    "job: stepped",
    "work: finishing",
    "job: settling",
]
processes = multiprocessing.get_context("forkserver")  # each process starts with all modules loaded
processes.set_forkserver_preload(["tests.shared.work.factory", "psycopg", "sqlalchemy.dialects.postgresql"])


@contextmanager
def started(database: Database, step: str | None = None) -> Iterator[ForkServerProcess]:
    url = database.url.render_as_string(hide_password=False)
    process = processes.Process(target=replica, args=(url, step), daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join(SECONDS)


def start(database: Database, subject: str, total: int, kind: str = "count", pause: float = 0.0) -> str:
    with database.transaction() as session:
        return make_jobs().start(session, kind, subject, new_id(), total=total, pause=pause)


def states(database: Database) -> dict[str, str]:
    with database.transaction(write=False) as session:
        return {row.id: row.state for row in session.connection().execute(select(JOBS.jobs))}


def effects(database: Database) -> list[tuple[str, int]]:
    with database.transaction(write=False) as session:
        rows = session.connection().execute(select(EFFECTS).order_by(EFFECTS.c.place))
        return [(row.subject, row.number) for row in rows]


def all_done(database: Database) -> Callable[[], bool]:
    return lambda: {*states(database).values()} == {State.DONE}


def check(database: Database, totals: dict[str, int]) -> None:
    """Check that each effect happened once and in order, and that jobs of one subject did not overlap."""
    found: dict[str, list[int]] = {}
    order: dict[str, list[str]] = {}
    for name, number in effects(database):
        subject, job_id = name.split(":")
        found.setdefault(job_id, []).append(number)
        line = order.setdefault(subject, [])
        if not line or line[-1] != job_id:
            line.append(job_id)
    assert found == {job_id: [*range(total)] for job_id, total in totals.items() if total}
    assert all(len(line) == len({*line}) for line in order.values()), "two jobs of one subject ran at once"
    with database.transaction(write=False) as session:
        assert session.connection().execute(select(func.count()).select_from(JOBS.work)).scalar_one() == 0


@pytest.mark.parametrize("step", STEPS)
def test_job_of_a_replica_that_dies_at_any_step_is_finished_by_another(database: Database, step: str) -> None:
    totals = {start(database, "a", 3): 3, start(database, "a", 2): 2}
    with started(database, step) as mortal:
        mortal.join(SECONDS)
        assert mortal.exitcode == -signal.SIGKILL
    with started(database):
        assert eventually(all_done(database), seconds=SECONDS), states(database)
    check(database, totals)


def test_replica_stopped_for_longer_than_its_lease_has_no_effect_when_it_continues(
    database: Database,
) -> None:
    total = 40
    job_id = start(database, "a", total, pause=0.02)
    with started(database) as stopped:
        assert eventually(lambda: len(effects(database)) >= 3, seconds=SECONDS)
        stop_between_transactions(database, stopped.pid or 0)
        with started(database):
            patience = 6 if database.is_sqlite else SECONDS  # SQLite's only lock may last as long as the stop
            is_locked = not eventually(lambda: len(effects(database)) >= 15, seconds=patience)
            os.kill(stopped.pid or 0, signal.SIGCONT)  # while the other replica is working
            assert database.is_sqlite or not is_locked, "its lease did not end"
            assert eventually(all_done(database), seconds=SECONDS), states(database)
    check(database, {job_id: total})


def stop_between_transactions(database: Database, pid: int) -> None:
    """Stop a replica while it holds no lock on PostgreSQL: a lock would last as long as the stop."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        if database.is_sqlite or not has_open_transactions(database):
            return
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.01)


def has_open_transactions(database: Database) -> bool:
    open_ones = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND state <> 'idle'"
    )
    with database.transaction(write=False) as session:
        return bool(session.connection().execute(open_ones).scalar_one())


def test_job_that_kills_its_replicas_fails_and_others_continue(database: Database) -> None:
    deadly, behind = start(database, "a", 0, "kill"), start(database, "b", 2)
    with ExitStack() as stack:
        living = [stack.enter_context(started(database))]
        ended = {deadly: State.FAILED, behind: State.DONE}
        deadline = time.monotonic() + SECONDS
        while states(database) != ended and time.monotonic() < deadline:
            living[-1].join(0.05)
            if living[-1].exitcode is not None:
                living.append(stack.enter_context(started(database)))
    assert states(database) == ended
    assert len(living) == 4, "three attempts, plus the replica that found the attempts used up"


@pytest.mark.prove
def test_replicas_killed_and_stopped_at_random_lose_and_repeat_no_effect(database: Database) -> None:
    chance = random.Random(7)
    totals: dict[str, int] = {}
    with ExitStack() as stack:
        living = [stack.enter_context(started(database)) for _ in range(3)]
        for _ in range(round(length(30))):
            total = chance.randrange(60)
            totals[start(database, chance.choice("abcd"), total, pause=0.005)] = total
            time.sleep(chance.uniform(0, 0.4))
            victim = chance.randrange(len(living))
            if chance.random() < 0.5:
                living[victim].kill()
                living[victim] = stack.enter_context(started(database))
            elif not database.is_sqlite:  # on SQLite a stopped writer blocks everyone
                os.kill(living[victim].pid or 0, signal.SIGSTOP)
                time.sleep(chance.uniform(0, 2))
                os.kill(living[victim].pid or 0, signal.SIGCONT)
        assert eventually(all_done(database), seconds=180), states(database)
    check(database, totals)
    assert len(totals) > 10


def test_check_finds_an_effect_that_happened_twice(database: Database) -> None:
    with database.transaction() as session:
        _double(session)
    with pytest.raises(AssertionError):
        check(database, {"x": 1})


def _double(session: Session) -> None:
    rows = [{"subject": "a:x", "number": 0}, {"subject": "a:x", "number": 0}]
    session.connection().execute(insert(EFFECTS), rows)
