"""Listing WorkSpaces: filters, search, pages, options, exports."""

import csv
import io
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from services.inventory.app import create_app
from services.inventory.settings import Settings
from shared.clock import now
from shared.testing import running
from tests.inventory import aws
from tests.inventory.aws import Double, World
from tests.inventory.support import USER, add_account, listed, sync

UNKNOWN = "/workspaces/ws-000000000"


@pytest.fixture
async def rows(inventory: httpx.AsyncClient, double: Double, world: World) -> list[dict[str, Any]]:
    """Synced WorkSpaces of two regions."""
    aws.add_workspaces(world, 40, 1)
    aws.add_workspaces(world, 20, 2, region="us-east-1")
    await add_account(inventory, double, regions=["eu-central-1", "us-east-1"])
    await sync(inventory, kind="directories")
    await sync(inventory, kind="workspaces")
    return await listed(inventory)


async def test_each_filter_and_each_pair_of_filters_finds_exactly_the_matching_rows(
    inventory: httpx.AsyncClient, rows: list[dict[str, Any]]
) -> None:
    wanted = {
        "state": ("state", "STOPPED"),
        "running_mode": ("running_mode", "ALWAYS_ON"),
        "user_name": ("user_name", "bob"),
        "directory": ("directory_id", rows[-1]["directory_id"]),
        "bundle": ("bundle_id", "wsb-value0001"),
        "account": ("account", rows[0]["account"]),
        "region": ("region", "us-east-1"),
    }
    names = list(wanted)
    for one in names:
        for two in names[names.index(one) :]:
            query = "&".join(f"{name}={wanted[name][1]}" for name in {one: 1, two: 1})
            same = [row for row in rows if all(row[wanted[n][0]] == wanted[n][1] for n in (one, two))]
            assert await listed(inventory, query) == same, query


async def test_tag_unused_days_and_search_find_exactly_the_matching_rows(
    inventory: httpx.AsyncClient, rows: list[dict[str, Any]]
) -> None:
    red = [row for row in rows if row["tags"].get("team") == "red"]
    assert await listed(inventory, "tag=team:red") == red
    assert await listed(inventory, "tag=team:red&state=STOPPED") == [
        row for row in red if row["state"] == "STOPPED"
    ]
    assert await listed(inventory, "tag=team:green") == []
    since = (now() - timedelta(days=250)).isoformat()
    used = [row for row in rows if row["last_connection"] is None or row["last_connection"] >= since]
    unused = await listed(inventory, "unused_days=250")
    assert unused == [row for row in rows if row not in used]
    assert await listed(inventory, "search=WSAMZN-000007") == [
        row for row in rows if row["computer_name"] == "WSAMZN-000007"
    ]
    by_user = [row for row in rows if "carla" in row["user_name"]]
    assert await listed(inventory, "search=CARLA") == by_user
    assert await listed(inventory, "search=carla&region=us-east-1") == [
        row for row in by_user if row["region"] == "us-east-1"
    ]
    assert await listed(inventory, "search=red&tag=team:red") == red


async def test_pages_contain_every_row_once(inventory: httpx.AsyncClient, rows: list[dict[str, Any]]) -> None:
    found, path = [], "/workspaces?limit=7&running_mode=AUTO_STOP"
    while path:
        page = await inventory.get(path, headers=USER)
        found += page.json()
        link = page.links.get("next")
        path = f"/workspaces{link['url']}" if link else ""

    assert found == [row for row in rows if row["running_mode"] == "AUTO_STOP"]


async def test_options_list_the_existing_values(
    inventory: httpx.AsyncClient, rows: list[dict[str, Any]]
) -> None:
    options = (await inventory.get("/workspaces/filters/options", headers=USER)).json()

    assert options["states"] == sorted({row["state"] for row in rows})
    assert options["bundles"] == sorted({row["bundle_id"] for row in rows})
    assert options["regions"] == ["eu-central-1", "us-east-1"]
    assert options["tag_keys"] == ["cost-center", "team"]
    assert [one["id"] for one in options["directories"]] == sorted({row["directory_id"] for row in rows})
    assert [one["name"] for one in options["accounts"]] == ["production"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("colour=red", "colour"),
        ("tag=team", "tag"),
        ("tag=:red", "tag"),
        ("unused_days=0", "unused_days"),
        ("unused_days=x", "unused_days"),
        ("gone=perhaps", "gone"),
        ("search=", "search"),
        ("account=7", "account"),
        ("limit=201", "limit"),
        ("cursor=abc", "cursor"),
        ("state=%00", "state"),
    ],
)
async def test_refusal_of_a_malformed_filter_names_it(
    inventory: httpx.AsyncClient, query: str, field: str
) -> None:
    response = await inventory.get(f"/workspaces?{query}", headers=USER)

    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [field]


async def test_unknown_id_is_404_and_malformed_id_422(inventory: httpx.AsyncClient) -> None:
    for path in (UNKNOWN, f"{UNKNOWN}/changes"):
        assert (await inventory.get(path)).status_code == 401
        assert (await inventory.get(path, headers=USER)).status_code == 404
    assert (await inventory.get("/workspaces/WS-1'--", headers=USER)).status_code == 422


async def test_search_and_user_name_treat_wildcards_and_sql_as_plain_text(
    inventory: httpx.AsyncClient, rows: list[dict[str, Any]]
) -> None:
    assert rows
    for text in ("%25%25%25", "___", "'%20OR%201=1", "%22)%20OR%20(%22"):
        assert await listed(inventory, f"search={text}") == []
        assert await listed(inventory, f"user_name={text}") == []


class TestExport:
    async def test_export_has_the_rows_of_the_list_with_the_same_filter(
        self, inventory: httpx.AsyncClient, rows: list[dict[str, Any]]
    ) -> None:
        response = await inventory.get("/workspaces/export?state=STOPPED", headers=USER)
        names, *lines = csv.reader(io.StringIO(response.text))

        assert response.headers["content-type"] == "text/csv; charset=utf-8"
        assert response.headers["content-disposition"].startswith('attachment; filename="workspaces-')
        assert response.headers["x-row-limit"] == "100000"
        found = [dict(zip(names, line, strict=True)) for line in lines]
        wanted = [row for row in rows if row["state"] == "STOPPED"]
        assert [one["workspace_id"] for one in found] == [row["workspace_id"] for row in wanted]
        assert [json.loads(one["tags"]) for one in found] == [row["tags"] for row in wanted]
        assert {one["encrypted_root"] for one in found} <= {"Yes", "No"}

    async def test_formulas_are_quoted(
        self, inventory: httpx.AsyncClient, double: Double, world: World
    ) -> None:
        aws.add_workspaces(world, 1, 1)
        (workspace,) = world.place().workspaces.values()
        workspace |= {"UserName": '=cmd|"/c calc"!A1', "ComputerName": "@SUM(1)"}
        await add_account(inventory, double)
        await sync(inventory, kind="workspaces")
        response = await inventory.get("/workspaces/export", headers=USER)
        names, line = csv.reader(io.StringIO(response.text))

        found = dict(zip(names, line, strict=True))
        assert (found["user_name"], found["computer_name"]) == ('\'=cmd|"/c calc"!A1', "'@SUM(1)")

    async def test_export_ends_at_the_limit(
        self, make_inventory_settings: Callable[..., Settings], double: Double, world: World
    ) -> None:
        aws.add_workspaces(world, 5, 1)
        async with running(create_app, make_inventory_settings(export_rows_max=3)) as inventory:
            await add_account(inventory, double)
            await sync(inventory, kind="workspaces")
            response = await inventory.get("/workspaces/export", headers=USER)

        assert (len(response.text.splitlines()), response.headers["x-row-limit"]) == (4, "3")

    @pytest.mark.parametrize("query", ["format=pdf", "limit=5", "cursor=abc", "colour=red"])
    async def test_malformed_query_is_refused(self, inventory: httpx.AsyncClient, query: str) -> None:
        assert (await inventory.get("/workspaces/export")).status_code == 401
        assert (await inventory.get(f"/workspaces/export?{query}", headers=USER)).status_code == 422
