"""Processes killed during a sync: the tables end up the same as after an undisturbed one."""

import json
import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from services.inventory.models import ACCOUNTS, CHANGES, JOBS, PARTS, TAGS, WORKSPACES, Account
from services.inventory.settings import Settings
from services.inventory.sync import syncs
from shared.data.database import Database
from shared.work.jobs import Jobs
from tests import databases
from tests.inventory import aws
from tests.inventory.aws import NUMBER, REGION, Double, World
from tests.inventory.replica import live, make_jobs, make_settings
from tests.support import eventually

SECONDS = 60
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.inventory.replica", "boto3", "psycopg"])
# These differ from one run to the next.
OWN = {"id", "first_seen", "last_seen", "state_changed", "updated", "gone", "account"}


@contextmanager
def replica(database: Database, folder: Path, dies_at: int) -> Iterator[ForkServerProcess]:
    url = database.url.render_as_string(hide_password=False)
    process = processes.Process(target=live, args=(url, str(folder), dies_at), daemon=True)
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


def start(database: Database, jobs: Jobs) -> str:
    with database.transaction() as session:
        return syncs.start(session, jobs, kind="all", by=None)


def has_ended(database: Database, sync_id: str) -> bool:
    with database.transaction(write=False) as session:
        ended = select(JOBS.jobs.c.ended).where(JOBS.jobs.c.id == sync_id)
        return session.connection().execute(ended).scalar_one() is not None


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
    plain = [{name: value for name, value in row.items() if name not in OWN} for row in rows]
    return {
        "workspaces": sorted(plain, key=lambda row: str(row["workspace_id"])),
        "tags": sorted(tags),
        "changes": sorted(changes, key=str),
        "parts": sorted(parts, key=str),
    }


def change_world(world: World) -> None:
    """Change rows on the first and the last page, and remove a WorkSpace."""
    rows = world.place(NUMBER, REGION).workspaces
    keys = sorted(rows)
    rows[keys[0]]["State"] = rows[keys[-1]]["State"] = "MAINTENANCE"
    world.place(NUMBER, REGION).tags[keys[1]] = {"team": "green"}
    del rows[keys[30]]


def run_twice(database: Database, folder: Path, double: Double, lives: list[int]) -> dict[str, list[Any]]:
    """Run two syncs with changes in between; during the second, processes die at these steps."""
    double.world = aws.new_world(60)
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
    with replica(database, folder, 0):
        assert eventually(lambda: has_ended(database, second), seconds=SECONDS)
    return tables(database)


def test_sync_killed_at_every_page_gives_the_same_tables_as_an_undisturbed_one(
    database: Database, tmp_path: Path, double: Double
) -> None:
    # Each process resumes the part, saves one page, and dies before it commits the next step.
    disturbed = run_twice(database, tmp_path, double, [1, 2, 3, 3, 3])
    calm_url = f"sqlite:///{tmp_path}/calm.db"
    databases.migrate(calm_url, Settings.migrations())
    calm = Database(calm_url)
    try:
        undisturbed = run_twice(calm, tmp_path, double, [])
    finally:
        calm.close()

    assert [row[1] for row in disturbed["parts"]] == ["done"] * 7
    assert len(disturbed["workspaces"]) == 60
    assert disturbed == undisturbed
