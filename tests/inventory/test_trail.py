"""CloudTrail: every event is stored once, even if late, and every filter finds it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from services.inventory.dated import dated_id
from shared.clock import now
from shared.ids import new_id
from tests.inventory import aws
from tests.inventory.aws import Double, World
from tests.inventory.support import ADMIN, USER, add_account, ended, sync, trigger

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def events(inventory: httpx.AsyncClient, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    path = f"/cloudtrail?limit=50{query and '&' + query}"
    while path:
        response = await inventory.get(path, headers=USER)
        assert response.status_code == 200, response.text
        found += response.json()
        link = response.links.get("next")
        path = f"/cloudtrail{link['url']}" if link else ""
    return found


async def test_events_of_all_pages_are_kept_once_and_listed_newest_first(
    inventory: httpx.AsyncClient, double: Double, world: World
) -> None:
    at = now().replace(microsecond=0)
    for number in range(120):
        aws.add_event(world.place(), number, at - timedelta(minutes=number % 40))
    aws.add_event(world.place(), 999, at - timedelta(days=9))  # too old for a first sync
    await add_account(inventory, double)
    first = await sync(inventory, kind="cloudtrail")
    late = aws.add_event(world.place(), 500, at - timedelta(minutes=25))
    second = await sync(inventory, kind="cloudtrail")

    assert (first["changed"], second["changed"], second["gone"]) == (120, 1, 0)
    found = await events(inventory)
    assert len({one["event_id"] for one in found}) == len(found) == 121
    assert [one["at"] for one in found] == sorted((one["at"] for one in found), reverse=True)
    assert late["EventId"] in {one["event_id"] for one in found}
    assert second["seen"] < first["seen"], "only since half an hour before the last scan"


async def test_each_filter_finds_exactly_the_matching_events(
    inventory: httpx.AsyncClient, double: Double, world: World
) -> None:
    at = now().replace(microsecond=0) - timedelta(hours=2)
    place = world.place()
    for number in range(12):
        aws.add_event(
            place,
            number,
            at + timedelta(minutes=number),
            username="ann" if number % 3 else "bob",
            name="StopWorkspaces" if number % 2 else "RebootWorkspaces",
            workspace_id=f"ws-00000000{number % 4}",
        )
    await add_account(inventory, double)
    await sync(inventory, kind="cloudtrail")
    every = await events(inventory)

    assert await events(inventory, "username=bob") == [one for one in every if one["username"] == "bob"]
    both = [one for one in every if (one["username"], one["name"]) == ("ann", "StopWorkspaces")]
    assert await events(inventory, "username=ann&name=StopWorkspaces") == both
    of_one = [one for one in every if one["workspaces"] == ["ws-000000001"]]
    assert await events(inventory, "workspace_id=ws-000000001") == of_one
    some = [one for one in of_one if one["username"] == "ann"]
    assert await events(inventory, "workspace_id=ws-000000001&username=ann") == some
    start, end = (f"{at + timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}" for minutes in (3, 7))
    between = [one for one in every if start <= one["at"] < end]
    assert len(between) == 4
    assert await events(inventory, f"start={start}&end={end}") == between
    shown = await inventory.get(f"/cloudtrail/{every[0]['id']}", headers=USER)
    assert shown.json() == every[0]


async def test_event_has_identity_request_source_and_workspaces_even_if_malformed_or_large(
    inventory: httpx.AsyncClient, double: Double, world: World
) -> None:
    asked = {"a": [{"workspaceId": "ws-000000001"}, {"b": {"workspaceId": "ws-000000002"}}]}
    aws.add_event(world.place(), 1, now(), requestParameters=asked, errorCode="AccessDenied")
    broken = aws.add_event(world.place(), 2, now())
    broken["CloudTrailEvent"] = "[not json"
    large = aws.add_event(world.place(), 3, now(), requestParameters={"x": "\u0000" + "y" * 20_000})
    await add_account(inventory, double)
    done = await sync(inventory, kind="cloudtrail")
    found = {one["event_id"][-1]: one for one in await events(inventory)}

    assert done["state"] == "completed"
    assert found["1"]["workspaces"] == ["ws-000000001", "ws-000000002"]
    assert (found["1"]["error_code"], found["1"]["source_ip"]) == ("AccessDenied", "192.0.2.7")
    assert found["1"]["identity"] == {"type": "IAMUser", "userName": "ops"}
    assert (found["2"]["request"], found["2"]["username"]) == (None, "ops")
    assert found["3"]["request"] == {"truncated": True}
    assert large["EventId"] == found["3"]["event_id"]


async def test_history_of_a_workspace_has_its_changes_and_its_calls_in_order(
    inventory: httpx.AsyncClient, double: Double, world: World
) -> None:
    aws.add_workspaces(world, 2, 1)
    place = world.place()
    mine, other = sorted(place.workspaces)
    begin = now() - timedelta(hours=3)
    for number in range(4):
        at = begin + timedelta(minutes=number)
        aws.add_event(place, number, at, workspace_id=other if number == 2 else mine)
    await add_account(inventory, double)
    await sync(inventory, kind="all")
    for state in ("MAINTENANCE", "ERROR"):
        place.workspaces[mine]["State"] = place.workspaces[other]["State"] = state
        await sync(inventory, kind="workspaces")
    rows: list[dict[str, Any]] = []
    path = f"/workspaces/{mine}/history?limit=2"
    while path:
        page = await inventory.get(path, headers=USER)
        assert page.status_code == 200, page.text
        rows += page.json()
        path = f"/workspaces/{mine}/history{page.links['next']['url']}" if "next" in page.links else ""
    known = (await inventory.get(f"/cloudtrail?workspace_id={mine}", headers=USER)).json()
    unknown = await inventory.get("/workspaces/ws-none00000/history", headers=USER)

    assert [one["kind"] for one in rows] == ["change", "change", "call", "call", "call"]
    assert [one["after"] for one in rows[:2]] == ["ERROR", "MAINTENANCE"]
    assert [one["id"] for one in rows[2:]] == [one["id"] for one in known]
    assert {(one["name"], one["username"], one["source_ip"]) for one in rows[2:]} == {
        ("StopWorkspaces", "ops", "192.0.2.7")
    }
    assert unknown.status_code == 404


async def test_missing_permission_fails_only_this_part_and_is_named(
    inventory: httpx.AsyncClient, double: Double, world: World
) -> None:
    aws.add_workspaces(world, 3, 1)
    world.denied.add("cloudtrail:LookupEvents")
    account = await add_account(inventory, double)
    done = await ended(inventory, await trigger(inventory))

    assert (done["state"], [part["state"] for part in done["parts"]]) == (
        "partial",
        ["done", "done", "failed", *["done"] * 5],
    )
    shown = (await inventory.get(f"/admin/aws-accounts/{account['id']}", headers=ADMIN)).json()
    assert shown["status"] == "limited"
    assert "cloudtrail:LookupEvents" in shown["status_detail"][0]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("start=yesterday", "start"),
        ("start=2026-01-01T00:00:00", "start"),
        ("workspace_id=x", "workspace_id"),
        ("name=", "name"),
        ("colour=red", "colour"),
    ],
)
async def test_refusal_of_a_malformed_filter_names_it(
    inventory: httpx.AsyncClient, query: str, field: str
) -> None:
    response = await inventory.get(f"/cloudtrail?{query}", headers=USER)

    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [field]


async def test_anonymous_request_is_401_and_unknown_event_404(inventory: httpx.AsyncClient) -> None:
    path = f"/cloudtrail/{new_id()}"
    assert (await inventory.get(path)).status_code == 401
    assert (await inventory.get(path, headers=USER)).status_code == 404


def test_event_ids_sort_by_time_and_are_stable() -> None:
    ids = [dated_id(AT + timedelta(seconds=number), [f"event {number}"]) for number in range(5)]

    assert ids == sorted(ids)
    assert ids[0] == dated_id(AT, ["event 0"]) != dated_id(AT, ["event 1"])
