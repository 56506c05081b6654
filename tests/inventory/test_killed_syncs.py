"""Processes killed during a sync: the tables end up the same as after an undisturbed one."""

import json
import multiprocessing
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from services.inventory.models import (
    ACCOUNTS,
    ADVICE,
    CHANGES,
    COSTS,
    JOBS,
    LOADS,
    PARTS,
    PRICES,
    TAGS,
    TRAIL,
    USAGE_DAYS,
    USAGE_MONTHS,
    WORKSPACES,
    Account,
)
from services.inventory.settings import Settings
from services.inventory.sync import syncs
from shared.clock import now
from shared.data.database import Database
from shared.work.jobs import Jobs
from tests import databases
from tests.inventory import aws
from tests.inventory.aws import HOME, NUMBER, REGION, Double, World
from tests.inventory.replica import LEASE as SHORT_LEASE
from tests.inventory.replica import READY, live, make_jobs, make_settings
from tests.inventory.test_totals import totals
from tests.support import eventually

SECONDS = 60
LEASE = timedelta(seconds=SECONDS)  # of replicas that are not killed, however busy the machine is
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.inventory.replica", "boto3", "psycopg"])
# These differ from one run to the next, the last three only around midnight.
OWN = {
    "id",
    "first_seen",
    "last_seen",
    "state_changed",
    "updated",
    "gone",
    "account",
    "seen",
    "pulled",
    "found",
}
OWN |= {"first_day", "last_day", "estimated"}


@contextmanager
def replica(
    database: Database, folder: Path, dies_at: int, lease: timedelta = SHORT_LEASE
) -> Iterator[ForkServerProcess]:
    url = database.url.render_as_string(hide_password=False)
    process = processes.Process(target=live, args=(url, str(folder), dies_at, lease), daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join(SECONDS)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    databases.migrate(database_url, Settings.migrations())
    made = Database(database_url)
    yield made
    made.close()


def add_account(database: Database, double: Double) -> None:
    account = Account(name="production", regions=json.dumps([REGION]), endpoint_url=double.url)
    with database.transaction() as session:
        session.connection().execute(insert(ACCOUNTS).values(account.model_dump()))


def start(database: Database, jobs: Jobs, kind: str = "all") -> str:
    with database.transaction() as session:
        return syncs.start(session, jobs, kind=kind, by=None)


def are_ready(folder: Path, replicas: int) -> bool:
    return len([*folder.glob(f"*{READY}")]) == replicas


def pass_time(database: Database) -> None:
    """End the lease of a killed process, as time would."""
    leased = JOBS.work.c.lease.is_not(None)
    with database.transaction() as session:
        past = now() - timedelta(seconds=1)
        session.connection().execute(update(JOBS.work).where(leased).values(due=past))


def has_ended(database: Database, sync_id: str) -> bool:
    with database.transaction(write=False) as session:
        ended = select(JOBS.jobs.c.ended).where(JOBS.jobs.c.id == sync_id)
        return session.connection().execute(ended).scalar_one() is not None


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in OWN}


def tables(database: Database) -> dict[str, list[Any]]:
    """Return what the syncs wrote, without ids and times."""
    with database.transaction(write=False) as session:
        execute = session.connection().execute
        rows = [dict(row) for row in execute(select(WORKSPACES)).mappings()]
        names = {row["id"]: row["workspace_id"] for row in rows}
        tags = [(names[row.id], row.key, row.value) for row in execute(select(TAGS))]
        changes = [(row.workspace_id, row.field, row.before) for row in execute(select(CHANGES))]
        columns = ("number", "state", "seen", "changed", "gone", "error")
        parts = [tuple(row[name] for name in columns) for row in execute(select(PARTS)).mappings()]
        read = (USAGE_DAYS, USAGE_MONTHS, COSTS, TRAIL, PRICES, LOADS, ADVICE)
        others = {
            table.name: [plain(dict(row)) for row in execute(select(table)).mappings()] for table in read
        }
    totals(database)  # equal those of the rows
    return {
        **{name: sorted(found, key=str) for name, found in others.items()},
        "workspaces": sorted(map(plain, rows), key=lambda row: str(row["workspace_id"])),
        "tags": sorted(tags),
        "changes": sorted(changes, key=str),
        "parts": sorted(parts, key=str),
    }


def full_world() -> World:
    """Create a world with something to read for every source, on several pages."""
    world = aws.new_world(60)
    world.cost_page_rows = 20
    today, place = now().replace(hour=9, minute=0, second=0, microsecond=0), world.place()
    for number, key in enumerate(sorted(place.workspaces)):
        day = today - timedelta(days=3 + number % 20)
        place.connected[key] = [day + timedelta(minutes=5 * one) for one in range(number)]
        place.loads[key] = [(day + timedelta(hours=one), 10.0 + number, 20.0) for one in range(1, 5)]
        aws.add_event(place, number, today - timedelta(days=1, minutes=number), workspace_id=key)
        cost = {"day": day.date().isoformat(), "resource": key, "usage_type": "AutoStop", "region": "r"}
        cost |= {"amount": f"{number}.0000000001", "quantity": "1.5"}
        world.place(NUMBER, HOME).costs.append(cost)
    return world


def change_world(world: World) -> None:
    """Change rows on the first and the last page, and remove a WorkSpace."""
    rows = world.place(NUMBER, REGION).workspaces
    keys = sorted(rows)
    rows[keys[0]]["State"] = rows[keys[-1]]["State"] = "MAINTENANCE"
    world.place(NUMBER, REGION).tags[keys[1]] = {"team": "green"}
    del rows[keys[30]]


def run_twice(database: Database, folder: Path, double: Double, lives: list[int]) -> dict[str, list[Any]]:
    """Run two syncs with changes in between; during the second, processes die at these steps."""
    double.world = full_world()
    settings = make_settings(database.url.render_as_string(hide_password=False), str(folder))
    jobs = make_jobs(database, settings)
    add_account(database, double)
    with replica(database, folder, 0):
        first = start(database, jobs)
        assert eventually(lambda: has_ended(database, first), seconds=SECONDS)
    change_world(double.world)
    second = start(database, jobs)
    for dies_at in lives:
        with replica(database, folder, dies_at) as mortal:
            mortal.join(SECONDS)
            assert mortal.exitcode == -signal.SIGKILL
        pass_time(database)
    with replica(database, folder, 0):
        assert eventually(lambda: has_ended(database, second), seconds=SECONDS)
    return tables(database)


@pytest.mark.prove
def test_two_replicas_do_each_sync_once(database: Database, tmp_path: Path, double: Double) -> None:
    calm_url = f"sqlite:///{tmp_path}/calm.db"
    databases.migrate(calm_url, Settings.migrations())
    calm, calls = Database(calm_url), list[list[str]]()
    try:
        for replicas, mine in ((1, calm), (2, database)):
            double.world = full_world()
            folder = tmp_path / str(replicas)
            folder.mkdir()
            sync_with(mine, folder, double, replicas)
            calls.append(sorted(double.world.calls))
    finally:
        calm.close()

    assert len(calls[0]) > 20
    assert calls[1] == calls[0], "no page is read by both"


def sync_with(database: Database, folder: Path, double: Double, replicas: int) -> None:
    """Run a few syncs, one after the other, while these replicas look for jobs."""
    settings = make_settings(database.url.render_as_string(hide_password=False), str(folder))
    jobs = make_jobs(database, settings, LEASE)
    add_account(database, double)
    with ExitStack() as stack:
        for _ in range(replicas):
            stack.enter_context(replica(database, folder, 0, LEASE))
        assert eventually(partial(are_ready, folder, replicas), seconds=SECONDS)
        for kind in ("workspaces", "usage", "cloudtrail") * 2:
            sync = start(database, jobs, kind)
            assert eventually(partial(has_ended, database, sync), seconds=SECONDS)


@pytest.mark.prove
@pytest.mark.long(1)
def test_sync_killed_after_each_step_of_every_source_gives_the_same_tables_as_an_undisturbed_one(
    database: Database, tmp_path: Path, double: Double
) -> None:
    double.world = full_world()
    add_account(database, double)
    settings = make_settings(database.url.render_as_string(hide_password=False), str(tmp_path))
    jobs = make_jobs(database, settings)
    first, deaths = start(database, jobs), 0
    while not has_ended(database, first):
        # It resumes the part, commits one page, and dies before it commits anything else.
        with replica(database, tmp_path, 3) as mortal:
            assert eventually(lambda: has_ended(database, first) or not mortal.is_alive(), seconds=SECONDS)
            deaths += mortal.exitcode == -signal.SIGKILL
        pass_time(database)
    calm_url = f"sqlite:///{tmp_path}/calm.db"
    databases.migrate(calm_url, Settings.migrations())
    calm = Database(calm_url)
    try:
        double.world = full_world()
        add_account(calm, double)
        with replica(calm, tmp_path, 0):
            second = start(calm, make_jobs(calm, make_settings(calm_url, str(tmp_path))))
            assert eventually(lambda: has_ended(calm, second), seconds=SECONDS)
        undisturbed = tables(calm)
    finally:
        calm.close()

    disturbed = tables(database)
    assert deaths > 2 * len(undisturbed["parts"])
    assert {name: len(rows) for name, rows in disturbed.items()} == {
        name: len(rows) for name, rows in undisturbed.items()
    }
    assert disturbed == undisturbed
    assert all(disturbed[name] for name in disturbed if name != "changes")


@pytest.mark.prove
def test_sync_killed_at_every_page_gives_the_same_tables_as_an_undisturbed_one(
    database: Database, tmp_path: Path, double: Double
) -> None:
    # Each process resumes the part, saves one page, and dies before it commits the next step.
    disturbed = run_twice(database, tmp_path, double, [1, 2, *[3] * 7])
    calm_url = f"sqlite:///{tmp_path}/calm.db"
    databases.migrate(calm_url, Settings.migrations())
    calm = Database(calm_url)
    try:
        undisturbed = run_twice(calm, tmp_path, double, [])
    finally:
        calm.close()

    assert {row[1] for row in disturbed["parts"]} == {"done"}
    assert len(disturbed["workspaces"]) == 60
    assert disturbed["changes"]
    assert disturbed["workspace_loads"]
    assert disturbed == undisturbed
