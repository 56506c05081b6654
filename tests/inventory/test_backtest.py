"""The back-test: each month is decided by the months before it, and compared with its own hours."""

from typing import Any

import httpx
import pytest
from sqlalchemy import insert

from services.inventory import backtest
from services.inventory.dated import dated_id, first_day, midnight, month_before, month_of
from services.inventory.models import USAGE_MONTHS
from shared.clock import now
from shared.ids import new_id
from tests.inventory import aws
from tests.inventory.aws import Double, World
from tests.inventory.support import USER, add_account, change, sync

MILLION = 1_000_000


def month_ago(number: int) -> str:
    month = month_of(now().date())
    for _ in range(number):
        month = month_before(month)
    return month


def used(workspace_id: str, hours: list[int], source: str = "bill") -> list[dict[str, Any]]:
    """Return hours of past months, newest first."""
    return [
        {
            "id": dated_id(midnight(first_day(month_ago(ago))), [workspace_id]),
            "workspace_id": workspace_id,
            "account": new_id(),
            "month": month_ago(ago),
            "source": source,
            "hours": number * MILLION,
            "updated": now(),
        }
        for ago, number in enumerate(hours, 1)
    ]


@pytest.fixture
async def tested(
    inventory: httpx.AsyncClient, double: Double, world: World, database_url: str
) -> httpx.AsyncClient:
    """Three AutoStop WorkSpaces of the size Standard: one steady, one that changed, one without a past."""
    aws.add_workspaces(world, 3, 1)
    for row in world.place().workspaces.values():
        row["WorkspaceProperties"] |= {
            "RunningMode": "AUTO_STOP",
            "ComputeTypeName": "STANDARD",
            "UserVolumeSizeGib": 50,
        }
    await add_account(inventory, double)
    await sync(inventory)
    steady, changed, new = sorted(world.place().workspaces)
    rows = [*used(steady, [160, 160, 160]), *used(changed, [10, 160, 160]), *used(new, [160])]
    rows += used("ws-gone", [160, 160, 160])
    change(database_url, insert(USAGE_MONTHS), rows)
    return inventory


async def test_each_month_compares_its_cost_with_that_of_the_advice_from_the_months_before(
    tested: httpx.AsyncClient,
) -> None:
    response = await tested.get("/advice/backtest?months=3", headers=USER)
    assert response.status_code == 200, response.text
    found = response.json()

    # AlwaysOn costs 40, AutoStop 9.75 and 0.30 an hour: 57.75 for 160 hours, 12.75 for 10.
    last, before = found["months"]
    assert (last["month"], before["month"]) == (month_ago(1), month_ago(2))
    assert (last["workspaces"], last["advised"], last["right"]) == (2, 2, 1)
    assert [last[name] for name in ("as_it_was", "as_advised", "best")] == ["70.5", "80", "52.75"]
    assert (before["workspaces"], before["advised"], before["right"]) == (2, 2, 2)
    assert [before[name] for name in ("as_it_was", "as_advised", "best")] == ["115.5", "80", "80"]
    assert (found["workspaces_tested"], found["truncated"]) == (3, False)


async def test_number_of_workspaces_is_bounded_and_the_response_says_so(
    tested: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backtest, "WORKSPACES_MAX", 2)
    found = (await tested.get("/advice/backtest", headers=USER)).json()

    assert (found["workspaces_tested"], found["truncated"]) == (2, True)
    assert (await tested.get("/advice/backtest?months=13", headers=USER)).status_code == 422
    assert (await tested.get("/advice/backtest")).status_code == 401


async def test_back_test_of_an_empty_inventory_has_no_months(inventory: httpx.AsyncClient) -> None:
    found = (await inventory.get("/advice/backtest", headers=USER)).json()

    assert found == {"months": [], "workspaces_tested": 0, "truncated": False}
