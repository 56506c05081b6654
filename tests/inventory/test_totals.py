"""The totals that syncs keep, compared with those of the rows."""

import shutil
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Table, func, insert, select

from services.inventory.models import HOUR_SUMS, USAGE_MONTHS, WORKSPACE_COUNTS, WORKSPACES
from services.inventory.settings import Settings
from shared.clock import now
from shared.data.database import Database
from shared.data.migrate import upgrade
from tests.inventory import aws
from tests.inventory.aws import Double, World
from tests.inventory.support import USER, add_account, sync
from tests.lists import LISTS

FIRST = "0015"  # the migration that counts


def totals(database: Database) -> tuple[dict[Any, int], dict[Any, tuple[int, int]]]:
    """Return the totals that are kept, if they are those of the rows."""
    state = [WORKSPACES.c.presence, WORKSPACES.c.state, func.coalesce(WORKSPACES.c.running_mode, "")]
    month = [USAGE_MONTHS.c.month, USAGE_MONTHS.c.source]
    counted = select(*state, func.count()).group_by(*state)
    summed = select(*month, func.count(), func.sum(USAGE_MONTHS.c.hours)).group_by(*month)
    with database.transaction(write=False) as session:
        kept = [_kept(session, table) for table in (WORKSPACE_COUNTS, HOUR_SUMS)]
        execute = session.connection().execute
        found = [sorted(tuple(row) for row in execute(one)) for one in (counted, summed)]
    assert kept == found
    return {row[:3]: row[3] for row in kept[0]}, {row[:2]: row[2:] for row in kept[1]}


def _kept(session: Any, table: Table) -> list[tuple[Any, ...]]:
    return sorted(tuple(row) for row in session.connection().execute(select(table).where(table.c.number > 0)))


async def test_totals_follow_workspaces_that_change_disappear_and_return(
    inventory: httpx.AsyncClient, double: Double, world: World, database_url: str
) -> None:
    aws.add_workspaces(world, 40, 4)
    database, place = Database(database_url, pool_size=1), world.place()
    first, second, *_ = sorted(place.workspaces)
    yesterday = now().replace(hour=9, minute=0) - timedelta(days=1)
    place.connected[first] = [yesterday]
    await add_account(inventory, double)
    try:
        await sync(inventory)
        counts, sums = totals(database)
        assert sum(counts.values()) == 40
        assert sum(number for number, _ in sums.values()) >= 40

        lost = place.workspaces.pop(second)
        place.workspaces[first]["State"] = "UNHEALTHY"
        place.workspaces[first]["WorkspaceProperties"].pop("RunningMode")
        place.connected[first] = [yesterday.replace(hour=hour) for hour in range(3)]
        await sync(inventory)
        counts, later = totals(database)
        assert counts["present", "UNHEALTHY", ""] == 1
        assert sum(number for key, number in counts.items() if key[0] == "gone") == 1
        assert later != sums

        place.workspaces[second] = lost
        await sync(inventory)
        counts, _ = totals(database)
        assert all(key[0] == "present" for key in counts)
    finally:
        database.close()
    shown = (await inventory.get("/dashboard", headers=USER)).json()
    assert shown["by_running_mode"]["UNKNOWN"] == 1


def test_migration_counts_the_rows_that_exist(database_url: str, tmp_path: Path) -> None:
    before = tmp_path / "migrations"
    shutil.copytree(
        Settings.migrations(), before, ignore=lambda _, names: [one for one in names if one >= FIRST]
    )
    upgrade(database_url, before)
    database = Database(database_url, pool_size=1)
    try:
        with database.transaction() as session:
            rows: list[Mapping[str, Any]] = [LISTS["inventory"].rows["WORKSPACES"](one) for one in range(50)]
            session.connection().execute(insert(WORKSPACES), rows)
            session.connection().execute(insert(USAGE_MONTHS), [_month(one) for one in range(50)])
        upgrade(database_url, Settings.migrations())
        counts, sums = totals(database)
    finally:
        database.close()
    assert sum(counts.values()) == 50
    assert sums["2026-01", "metrics"] == (25, sum(range(0, 50, 2)))


def _month(number: int) -> dict[str, Any]:
    source = "bill" if number % 2 else "metrics"
    row = {"id": f"id-{number:03}", "workspace_id": f"ws-{number}", "account": "a", "month": "2026-01"}
    return {**row, "source": source, "hours": number, "updated": now()}
