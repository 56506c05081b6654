"""Costs: exact to the last decimal place, per resource where AWS reports one, within the request budget."""

import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from sqlalchemy import case, delete, func, select, update

from services.inventory.app import create_app
from services.inventory.exact import joined, split, written
from services.inventory.models import COST_DAYS, COSTS, SCANS
from services.inventory.settings import Settings
from shared.clock import now
from shared.data.database import Database
from shared.testing import running
from tests.inventory import aws
from tests.inventory.aws import NUMBER, Double, Place, World
from tests.inventory.support import ADMIN, USER, add_account, change, sync

HOME = "us-east-1"
DAYS = 30
RESOURCES = (
    "ws-000000001",
    "arn:aws:workspaces:eu-central-1:1:workspace/ws-000000002",
    "NoResourceId",
    "i-1",
)


def day(ago: int) -> str:
    return (now() - timedelta(days=ago)).date().isoformat()


def add_costs(world: World, number: int = 300) -> list[dict[str, Any]]:
    """Add forty days of costs, including credits, with as many decimal places as AWS gives."""
    chance, rows = random.Random(7), world.place(NUMBER, HOME).costs
    for _ in range(number):
        rows.append(
            {
                "day": day(chance.randrange(40)),
                "resource": chance.choice(RESOURCES),
                "usage_type": chance.choice(["EUC1-AutoStop-Usage", "EUC1-Monthly"]),
                "region": "eu-central-1",
                "amount": f"{chance.uniform(-1, 900):.10f}",
                "quantity": f"{chance.uniform(0, 9):.10f}",
            }
        )
    return [row for row in rows if row["day"] >= day(DAYS)]


def summed(rows: list[dict[str, Any]], key: Callable[[dict[str, Any]], str]) -> Mapping[str, Decimal]:
    found: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        found[key(row)] += Decimal(row["amount"])
    return found


async def sums(inventory: httpx.AsyncClient, query: str) -> dict[str, Decimal]:
    response = await inventory.get(f"/billing/summary?{query}", headers=USER)
    assert response.status_code == 200, response.text
    return {one["key"]: Decimal(one["amount"]) for one in response.json()["sums"]}


def wrong_days(database_url: str) -> list[str]:
    """Compare the sums kept for each day with the costs themselves."""
    names = ("day", "account", "currency")
    sums = (
        func.sum(COSTS.c.amount_whole),
        func.sum(COSTS.c.amount_part),
        func.count(),
        func.sum(case((COSTS.c.estimated, 1), else_=0)),
    )
    keys = [COSTS.c[name] for name in names]
    database = Database(database_url, pool_size=1)
    try:
        with database.transaction(write=False) as session:
            execute = session.connection().execute
            wanted = {
                tuple(row[:3]): tuple(map(int, row[3:]))
                for row in execute(select(*keys, *sums).group_by(*keys))
            }
            kept = {
                tuple(row[:3]): tuple(row[3:])
                for row in execute(select(COST_DAYS).where(COST_DAYS.c.rows != 0))
            }
    finally:
        database.close()
    assert wanted
    return [
        f"{key}: {kept.get(key)} instead of {wanted.get(key)}"
        for key in kept.keys() | wanted
        if kept.get(key) != wanted.get(key)
    ]


async def test_sums_match_those_of_aws_exactly(
    inventory: httpx.AsyncClient, double: Double, world: World, database_url: str
) -> None:
    rows = add_costs(world)
    world.cost_page_rows = 37
    await add_account(inventory, double)
    done = await sync(inventory, kind="billing")

    assert done["state"] == "completed"
    assert await sums(inventory, "by=month") == summed(rows, lambda row: row["day"][:7])
    assert await sums(inventory, "by=day") == summed(rows, lambda row: row["day"])
    assert await sums(inventory, "by=usage_type") == summed(rows, lambda row: row["usage_type"])
    recent = [row for row in rows if row["day"] >= day(13)]
    by_workspace = summed(
        recent, lambda row: found if (found := row["resource"].rpartition("/")[2]).startswith("ws-") else ""
    )
    assert await sums(inventory, f"by=workspace&start_date={day(13)}") == by_workspace
    assert await sums(inventory, "by=service") == summed(rows, lambda _: "Amazon WorkSpaces")
    whole = (await inventory.get("/billing/summary", headers=USER)).json()
    assert Decimal(whole["total"]["USD"]) == sum(Decimal(row["amount"]) for row in rows)
    assert whole["sums"][0]["estimated"] is True
    assert wrong_days(database_url) == []


async def test_costs_are_summed_by_the_directory_and_a_tag_that_workspaces_have_now(
    inventory: httpx.AsyncClient, double: Double, world: World
) -> None:
    aws.add_workspaces(world, 12, 1)
    place, costs = world.place(), world.place(NUMBER, HOME).costs
    for number, resource in enumerate([*place.workspaces, "arn:aws:other"]):
        cost = {"day": day(number % 5), "resource": resource, "usage_type": "AutoStop", "region": "r"}
        costs.append({**cost, "amount": f"{number + 1}.0000000001", "quantity": "1"})
    await add_account(inventory, double)
    for kind in ("workspaces", "billing"):
        await sync(inventory, kind=kind)

    directories = summed(costs, lambda row: directory_of(place, row["resource"]))
    assert len(directories) == 3, "two, and costs of none"
    assert await sums(inventory, "by=directory") == directories
    teams = summed(costs, lambda row: place.tags.get(row["resource"], {}).get("team", ""))
    assert len(teams) > 1
    assert await sums(inventory, "by=tag:team") == teams
    assert [*await sums(inventory, "by=tag:nothing")] == [""]


def directory_of(place: Place, workspace_id: str) -> str:
    return str(place.workspaces.get(workspace_id, {}).get("DirectoryId", ""))


async def test_list_has_each_cost_once_and_filters_by_workspace_usage_type_and_day(
    inventory: httpx.AsyncClient, double: Double, world: World
) -> None:
    add_costs(world)
    await add_account(inventory, double)
    await sync(inventory, kind="billing")
    every = (await inventory.get("/billing?limit=200", headers=USER)).json()

    assert len(every) < 200
    assert [row["day"] for row in every] == sorted((row["day"] for row in every), reverse=True)
    cases: list[tuple[str, Callable[[dict[str, Any]], bool]]] = [
        ("workspace_id=ws-000000002", lambda row: row["workspace_id"] == "ws-000000002"),
        ("usage_type=EUC1-Monthly", lambda row: row["usage_type"] == "EUC1-Monthly"),
        (f"start_date={day(5)}&end_date={day(2)}", lambda row: day(5) <= row["day"] < day(2)),
        (
            f"workspace_id=ws-000000001&usage_type=EUC1-Monthly&start_date={day(9)}",
            lambda row: (
                (row["workspace_id"], row["usage_type"]) == ("ws-000000001", "EUC1-Monthly")
                and row["day"] >= day(9)
            ),
        ),
    ]
    for query, condition in cases:
        found = (await inventory.get(f"/billing?limit=200&{query}", headers=USER)).json()
        assert found == [row for row in every if condition(row)], query
        assert found


async def test_second_sync_rereads_three_days_and_applies_changes_and_removals(
    inventory: httpx.AsyncClient, double: Double, world: World, database_url: str
) -> None:
    rows = world.place(NUMBER, HOME).costs
    for ago in (0, 1, 2, 8):
        for usage_type in ("A", "B"):
            rows.append(
                {"day": day(ago), "resource": "ws-000000001", "usage_type": usage_type, "region": "r"}
                | {"amount": "1.5", "quantity": "1"}
            )
    await add_account(inventory, double)
    await sync(inventory, kind="billing")
    again = await sync(inventory, kind="billing")
    assert (again["changed"], again["gone"]) == (0, 0)
    rows[0]["amount"] = "2.25"
    del rows[3], rows[-1]  # yesterday's B, and B from eight days ago
    done = await sync(inventory, kind="billing")

    assert (done["changed"], done["gone"]) == (1, 1)
    found = await sums(inventory, "by=day")
    assert found[day(0)] == Decimal("3.75")
    assert found[day(1)] == Decimal("1.5")
    assert found[day(8)] == Decimal(3), "older days are final"
    assert wrong_days(database_url) == []


async def test_sync_after_a_long_pause_reads_all_days_since_and_sums_stay_exact(
    inventory: httpx.AsyncClient, double: Double, world: World, database_url: str
) -> None:
    rows = world.place(NUMBER, HOME).costs
    for ago in range(30):
        rows.append(
            {"day": day(ago), "resource": "ws-000000001", "usage_type": "A", "region": "r"}
            | {"amount": f"1.{ago:010}", "quantity": "1"}
        )
    await add_account(inventory, double)
    await sync(inventory, kind="billing")
    change(database_url, update(SCANS).values(completed=now() - timedelta(days=20)))
    for row in rows[14:24]:
        row["amount"] = "7.5"
    change(database_url, delete(COST_DAYS).where(COST_DAYS.c.day == day(9)))  # stored by an older version
    await sync(inventory, kind="billing")

    assert await sums(inventory, "by=day") == summed(rows, lambda row: row["day"])
    assert wrong_days(database_url) == []


async def test_estimates_of_past_months_become_final_and_keep_their_workspaces(
    make_inventory_settings: Callable[..., Settings], double: Double, world: World, database_url: str
) -> None:
    rows = world.place(NUMBER, HOME).costs
    for ago in range(44):
        for usage_type in ("A", "B"):
            rows.append(
                {"day": day(ago), "resource": "ws-000000001", "usage_type": usage_type, "region": "r"}
                | {"amount": "1.25", "quantity": "1"}
            )
    world.estimated_days = 60
    settings = make_inventory_settings(database_url=database_url, billing_days=50)
    async with running(create_app, settings) as inventory:
        await add_account(inventory, double)
        await sync(inventory, kind="billing")
        change(database_url, update(COSTS).values(workspace_id="ws-000000001"))
        await sync(inventory, kind="billing")
        before = (await inventory.get("/billing/summary?by=day", headers=USER)).json()["sums"]
        assert all(one["estimated"] for one in before)
        world.estimated_days = 2
        past = min(day(0)[:7] + "-01", day(3))
        final = [row for row in rows if row["day"] < past]
        final[0]["amount"] = "3.0000000001"
        del rows[rows.index(final[-1])]
        done = await sync(inventory, kind="billing")
        found = (await inventory.get("/billing/summary?by=day", headers=USER)).json()["sums"]
        by_workspace = await sums(inventory, f"by=workspace&end_date={past}")

    assert done["seen"] >= len(final) - 1, "costs that became final count as well"
    assert {one["estimated"] for one in found if one["key"] < past} == {False}
    assert {one["key"]: Decimal(one["amount"]) for one in found} == summed(rows, lambda row: row["day"])
    assert by_workspace[""] == Decimal("1.7500000001"), "only the difference has no WorkSpace"
    assert wrong_days(database_url) == []


@pytest.mark.parametrize("is_denied", [True, False])
async def test_costs_are_per_usage_type_if_aws_gives_none_per_resource(
    inventory: httpx.AsyncClient, double: Double, world: World, is_denied: bool
) -> None:
    rows = add_costs(world, 60)
    if is_denied:
        world.denied.add("ce:GetCostAndUsageWithResources")
    world.is_cost_by_resource = False
    account = await add_account(inventory, double)
    done = await sync(inventory, kind="billing")

    assert (done["state"], done["parts"][0]["missing"]) == ("completed", [*world.denied])
    assert await sums(inventory, "by=workspace") == {"": sum(Decimal(row["amount"]) for row in rows)}
    assert await sums(inventory, "by=region") == summed(rows, lambda row: row["region"])
    shown = (await inventory.get(f"/admin/aws-accounts/{account['id']}", headers=ADMIN)).json()
    assert shown["status"] == ("limited" if is_denied else "connected")


async def test_daily_request_budget_is_kept_and_data_already_read_stays(
    make_inventory_settings: Callable[..., Settings], double: Double, world: World
) -> None:
    add_costs(world)
    world.cost_page_rows = 5
    async with running(create_app, make_inventory_settings(ce_requests_per_day=3)) as inventory:
        await add_account(inventory, double)
        first = await sync(inventory, kind="billing")
        second = await sync(inventory, kind="billing")
        kept = (await inventory.get("/billing?limit=200", headers=USER)).json()

    assert (first["state"], second["state"]) == ("failed", "failed")
    assert "CE_REQUESTS_PER_DAY" in first["parts"][0]["error"]
    assert len([one for one in world.calls if one.startswith("GetCost")]) == 3
    assert len(kept) == 15


async def test_sync_of_everything_reads_costs_only_once_a_day(
    inventory: httpx.AsyncClient, double: Double, world: World
) -> None:
    await add_account(inventory, double)
    await sync(inventory)
    done = await sync(inventory)

    assert [part["source"] for part in done["parts"]] == [
        "directories",
        "workspaces",
        "cloudtrail",
        "usage",
        "advice",
    ]


@pytest.mark.parametrize(
    "path",
    [
        "/billing?start_date=soon",
        "/billing?start_date=0",
        "/billing?colour=red",
        "/billing?workspace_id=x",
        "/billing/summary?by=colour",
        "/billing/summary?by=tag:",
        "/billing/summary?end_date=2026-13-01",
        "/billing/summary?account=7",
    ],
)
async def test_malformed_query_is_refused(inventory: httpx.AsyncClient, path: str) -> None:
    assert (await inventory.get(path)).status_code == 401
    assert (await inventory.get(path, headers=USER)).status_code == 422


@pytest.mark.parametrize(
    "text",
    ["0", "12.0101516483", "-0.0000000001", "-1", "0.000000000001", "999999999999.999999999999", "1E-10"],
)
def test_amount_survives_the_round_trip(text: str) -> None:
    assert joined(*split(text)) == Decimal(text)
    assert Decimal(written(joined(*split(text)))) == Decimal(text)
    assert "E" not in written(joined(*split(text)))


@pytest.mark.parametrize("text", ["", "x", "NaN", "Infinity", "1e12", "-1e30", "1" * 100])
def test_invalid_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="amount"):
        split(text)


def test_sum_of_many_amounts_is_exact() -> None:
    chance = random.Random(3)
    texts = [f"{chance.uniform(-100, 100):.10f}" for _ in range(5_000)]
    parts = [split(text) for text in texts]
    whole, part = sum(one for one, _ in parts), sum(one for _, one in parts)

    assert joined(whole, part) == sum(map(Decimal, texts))
