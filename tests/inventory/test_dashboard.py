"""The dashboard: its figures match the rows."""

from collections import Counter

import httpx
import pytest

from services.inventory import dashboard
from tests.inventory import aws
from tests.inventory.aws import Double, World
from tests.inventory.support import USER, add_account, listed, sync


async def test_figures_match_the_rows(inventory: httpx.AsyncClient, double: Double, world: World) -> None:
    aws.add_workspaces(world, 40, 4)
    await add_account(inventory, double)
    first = await sync(inventory)
    del world.place().workspaces[max(world.place().workspaces)]
    second = await sync(inventory)
    rows = await listed(inventory)
    shown = (await inventory.get("/dashboard", headers=USER)).json()

    assert (shown["total_workspaces"], shown["gone_workspaces"]) == (39, 1)
    assert shown["by_state"] == Counter(row["state"] for row in rows)
    assert shown["by_running_mode"] == Counter(row["running_mode"] for row in rows)
    assert shown["accounts"] == {"connected": 1}
    assert shown["last_read"].keys() == {
        "directories",
        "workspaces",
        "cloudtrail",
        "usage",
        "load",
        "billing",
        "prices",
        "advice",
    }
    assert [one["id"] for one in shown["recent_syncs"]] == [second["id"], first["id"]]


async def test_dashboard_of_an_empty_inventory_is_all_zeros_and_requires_an_account(
    inventory: httpx.AsyncClient,
) -> None:
    assert (await inventory.get("/dashboard")).status_code == 401
    shown = (await inventory.get("/dashboard", headers=USER)).json()

    assert (shown["total_workspaces"], shown["by_state"], shown["recent_syncs"]) == (0, {}, [])


async def test_figures_are_cached_until_they_are_old(
    inventory: httpx.AsyncClient, double: Double, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.add_workspaces(world, 3, 4)
    await add_account(inventory, double)
    old = (await inventory.get("/dashboard", headers=USER)).json()
    await sync(inventory)
    assert (await inventory.get("/dashboard", headers=USER)).json() == old
    monkeypatch.setattr(dashboard, "KEPT_SECONDS", 0)
    assert (await inventory.get("/dashboard", headers=USER)).json()["total_workspaces"] == 3
