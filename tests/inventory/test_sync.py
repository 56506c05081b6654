"""Syncs: the list shows what AWS has, despite throttling, failures and expired cursors."""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from services.inventory.models import EVENTS
from services.inventory.settings import Settings
from shared.ids import new_id
from shared.work.cron import Cron
from tests.inventory import aws
from tests.inventory.aws import NUMBER, REGION, Double, World
from tests.inventory.support import ADMIN, USER, add_account, ended, listed, sync, trigger
from tests.support import length
from tests.told import events

OTHER_REGION = "us-east-1"


def expected(world: World, region: str = REGION) -> dict[str, tuple[Any, ...]]:
    """Return what the list must show for each WorkSpace, by id."""
    place = world.place(NUMBER, region)
    return {
        key: (
            row["UserName"],
            row["State"],
            row["WorkspaceProperties"]["RunningMode"],
            aws.BUNDLES[row["BundleId"]][0],
            place.connections[key]["ConnectionState"],
            place.tags.get(key, {}),
        )
        for key, row in place.workspaces.items()
    }


def found(rows: list[dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    names = ("user_name", "state", "running_mode", "bundle_name", "connection_state", "tags")
    return {row["workspace_id"]: tuple(row[name] for name in names) for row in rows}


async def test_sync_finds_all_workspaces_with_bundles_tags_and_connections(
    inventory: httpx.AsyncClient, double: Double, world: World
) -> None:
    aws.add_workspaces(world, 60, 1)
    account = await add_account(inventory, double)
    done = await sync(inventory)

    assert (done["state"], done["gone"]) == ("completed", 0)
    assert [(part["seen"], part["changed"]) for part in done["parts"][:2]] == [(2, 2), (60, 60)]
    assert [(part["source"], part["state"]) for part in done["parts"]] == [
        ("directories", "done"),
        ("workspaces", "done"),
        ("cloudtrail", "done"),
        ("usage", "done"),
        ("load", "done"),
        ("billing", "done"),
        ("prices", "done"),
        ("advice", "done"),
    ]
    rows = await listed(inventory)
    assert found(rows) == expected(world)
    last = {
        key: one.get("LastKnownUserConnectionTimestamp") for key, one in world.place().connections.items()
    }
    assert {row["workspace_id"]: row["last_connection"] for row in rows} == {
        key: None if at is None else at.isoformat().replace("+00:00", "Z") for key, at in last.items()
    }
    shown = (await inventory.get(f"/admin/aws-accounts/{account['id']}", headers=ADMIN)).json()
    assert (shown["status"], shown["account_number"]) == ("connected", NUMBER)
    assert shown["last_sync"] is not None


async def test_sync_without_changes_updates_only_last_seen(
    inventory: httpx.AsyncClient, double: Double, world: World, database_url: str
) -> None:
    aws.add_workspaces(world, 30, 1)
    await add_account(inventory, double)
    await sync(inventory, kind="workspaces")
    before = await listed(inventory)
    done = await sync(inventory, kind="workspaces")

    assert (done["state"], done["changed"]) == ("completed", 0)
    after = await listed(inventory)
    seen = {row["workspace_id"]: row.pop("last_seen") for row in before}
    assert all(row.pop("last_seen") > seen[row["workspace_id"]] for row in after)
    assert after == before
    assert [one.topic for one in events(database_url, EVENTS)] == ["sync.finished"] * 2


async def test_changes_are_stored_in_the_history_and_emitted(
    inventory: httpx.AsyncClient, double: Double, world: World, database_url: str
) -> None:
    aws.add_workspaces(world, 3, 1)
    await add_account(inventory, double)
    await sync(inventory, kind="workspaces")
    first, second, third = sorted(world.place().workspaces)
    rows = world.place().workspaces
    state = rows[first]["State"]
    rows[first]["State"] = "MAINTENANCE"
    world.place().tags[second] = {"team": "green"}
    del rows[third]
    aws.add_workspace(world, world.place(), random.Random(9), "ws-new000001", 5)
    await sync(inventory, kind="workspaces")

    changes = (await inventory.get(f"/workspaces/{first}/changes", headers=USER)).json()
    assert [(one["field"], one["before"], one["after"]) for one in changes] == [
        ("state", state, "MAINTENANCE")
    ]
    shown = (await inventory.get(f"/workspaces/{first}", headers=USER)).json()
    assert (shown["state"], shown["previous_state"], shown["version"]) == ("MAINTENANCE", state, 2)
    assert {row["workspace_id"] for row in await listed(inventory)} == {first, second, "ws-new000001"}
    assert [row["workspace_id"] for row in await listed(inventory, "gone=true")] == [third]
    assert [row["workspace_id"] for row in await listed(inventory, "tag=team:green")] == [second]

    ends = [one.data for one in events(database_url, EVENTS) if one.topic == "sync.finished"]
    assert [one["workspaces_gone"] for one in ends] == [0, 1]
    told = {one.topic: one.data for one in events(database_url, EVENTS) if one.topic != "sync.finished"}
    assert told["workspace.found"]["workspace_id"] == "ws-new000001"
    assert told["workspace.gone"]["workspace_id"] == third
    changed = [one.data for one in events(database_url, EVENTS) if one.topic == "workspace.changed"]
    assert {one["workspace_id"]: one["fields"] for one in changed} == {first: ["state"], second: ["tags"]}
    by_id = {one["workspace_id"]: one for one in changed}
    assert (by_id[first]["before"], by_id[first]["after"]) == ({"state": state}, {"state": "MAINTENANCE"})


async def test_workspace_that_reappears_is_no_longer_gone(
    inventory: httpx.AsyncClient, double: Double, world: World
) -> None:
    aws.add_workspaces(world, 2, 1)
    await add_account(inventory, double)
    await sync(inventory, kind="workspaces")
    key = min(world.place().workspaces)
    row = world.place().workspaces.pop(key)
    await sync(inventory, kind="workspaces")
    assert [one["workspace_id"] for one in await listed(inventory, "gone=true")] == [key]
    world.place().workspaces[key] = row
    await sync(inventory, kind="workspaces")

    assert await listed(inventory, "gone=true") == []
    changes = (await inventory.get(f"/workspaces/{key}/changes", headers=USER)).json()
    assert [(one["field"], one["after"] is None) for one in changes] == [("gone", True), ("gone", False)]


async def test_throttled_calls_are_retried_and_nothing_is_lost(
    inventory: httpx.AsyncClient, double: Double, world: World
) -> None:
    aws.add_workspaces(world, 300, 1)
    world.throttle_every = 7
    await add_account(inventory, double)
    done = await sync(inventory)

    assert done["state"] == "completed"
    assert sum(part["throttled"] for part in done["parts"]) > 3
    assert done["api_calls"] == len(world.calls)
    assert found(await listed(inventory)) == expected(world)


async def test_page_that_keeps_failing_does_not_affect_other_parts_and_marks_nothing_as_gone(
    inventory: httpx.AsyncClient, double: Double, world: World
) -> None:
    for seed, region in enumerate((REGION, OTHER_REGION), 1):
        aws.add_workspaces(world, 60, seed, region=region)
    await add_account(inventory, double, regions=[REGION, OTHER_REGION])
    await sync(inventory)
    gone = {region: max(world.place(NUMBER, region).workspaces) for region in (REGION, OTHER_REGION)}
    for region, key in gone.items():
        del world.place(NUMBER, region).workspaces[key]
    world.broken["DescribeWorkspaces"] = world.count("DescribeWorkspaces") + 2

    def fix_other_region(operation: str, _: int) -> None:
        if operation == "DescribeWorkspaceDirectories" and world.count(operation) == 4:
            world.broken.clear()

    world.before_page = fix_other_region
    done = await sync(inventory)

    assert done["state"] == "partial"
    assert [part["state"] for part in done["parts"]] == ["done", "failed", *["done"] * 8]
    failed = done["parts"][1]
    assert failed["error"] == "workspaces:DescribeWorkspaces failed: We are sorry"
    assert [row["workspace_id"] for row in await listed(inventory, "gone=true")] == [gone[OTHER_REGION]]


async def test_missing_permission_is_named_and_the_rest_is_read(
    inventory: httpx.AsyncClient, double: Double, world: World
) -> None:
    aws.add_workspaces(world, 3, 1)
    account = await add_account(inventory, double)
    await sync(inventory)
    before = found(await listed(inventory))
    world.denied |= {"tag:GetResources", "workspaces:DescribeWorkspacesConnectionStatus"}
    world.place().tags.clear()
    done = await sync(inventory)

    assert done["state"] == "completed"
    assert done["parts"][1]["missing"] == sorted(world.denied)
    assert found(await listed(inventory)) == before, "fields that cannot be read keep their values"
    shown = (await inventory.get(f"/admin/aws-accounts/{account['id']}", headers=ADMIN)).json()
    assert shown["status"] == "limited"
    assert shown["status_detail"] == [f"{one} is missing." for one in sorted(world.denied)]


async def test_wrong_keys_fail_the_sync_after_one_call_and_set_the_account_to_error(
    inventory: httpx.AsyncClient, double: Double, world: World
) -> None:
    aws.add_workspaces(world, 3, 1)
    account = await add_account(inventory, double, regions=[REGION, OTHER_REGION])
    world.keys[aws.KEY_ID] = ("another secret", NUMBER, "")
    done = await sync(inventory)

    assert done["state"] == "failed"
    assert {part["error_code"] for part in done["parts"]} == {"credentials"}
    assert sum(part["calls"] for part in done["parts"]) == 1
    shown = (await inventory.get(f"/admin/aws-accounts/{account['id']}", headers=ADMIN)).json()
    assert shown["status"] == "error"
    refused = await inventory.post("/sync/trigger", headers=ADMIN)
    assert (refused.status_code, refused.json()["code"]) == (409, "nothing_to_sync")
    world.keys[aws.KEY_ID] = (aws.SECRET, NUMBER, "")
    again = await sync(inventory, accounts=[account["id"]])
    assert again["state"] == "completed", "a named account is tried despite its error"


async def test_outage_of_aws_fails_the_sync_but_does_not_set_the_account_to_error(
    inventory: httpx.AsyncClient, double: Double, world: World
) -> None:
    aws.add_workspaces(world, 3, 1)
    account = await add_account(inventory, double)
    await sync(inventory)
    world.broken = dict.fromkeys(aws.PERMISSIONS, 1)
    failed = await sync(inventory, kind="workspaces")
    world.broken.clear()
    shown = (await inventory.get(f"/admin/aws-accounts/{account['id']}", headers=ADMIN)).json()

    assert (failed["state"], failed["gone"]) == ("failed", 0)
    assert (shown["status"], len(shown["status_detail"])) == ("connected", 2)
    assert len(await listed(inventory)) == 3
    assert (await sync(inventory))["state"] == "completed"


async def test_expired_page_token_restarts_the_scan_and_nothing_is_lost(
    inventory: httpx.AsyncClient, double: Double, world: World
) -> None:
    aws.add_workspaces(world, 80, 1)
    await add_account(inventory, double)

    def expire(operation: str, number: int) -> None:
        if (operation, number) == ("DescribeWorkspaces", 3):
            world.token_epoch += 1

    world.before_page = expire
    done = await sync(inventory)

    assert (done["state"], done["parts"][1]["seen"]) == ("completed", 80)
    assert found(await listed(inventory)) == expected(world)


async def test_second_sync_is_refused_while_one_runs_and_a_cancelled_one_marks_nothing_as_gone(
    inventory: httpx.AsyncClient, double: Double, world: World
) -> None:
    aws.add_workspaces(world, 80, 1)
    await add_account(inventory, double)
    await sync(inventory)
    del world.place().workspaces[max(world.place().workspaces)]
    with world.lock:  # AWS does not respond
        sync_id = await trigger(inventory)
        second = await inventory.post("/sync/trigger", headers=ADMIN)
        assert (second.status_code, second.json()["code"]) == (409, "sync_running")
        assert second.json()["sync_id"] == sync_id
        cancelled = await inventory.delete(f"/sync/{sync_id}", headers=ADMIN)
        assert cancelled.status_code == 202
    done = await ended(inventory, sync_id)

    assert done["state"] == "cancelled"
    assert await listed(inventory, "gone=true") == []
    assert (await sync(inventory))["gone"] == 1


async def test_sync_can_be_limited_to_a_region_and_to_directories(
    inventory: httpx.AsyncClient, double: Double, world: World
) -> None:
    aws.add_workspaces(world, 2, 1)
    aws.add_workspaces(world, 2, 2, region=OTHER_REGION)
    await add_account(inventory, double, regions=[REGION, OTHER_REGION])
    done = await sync(inventory, kind="directories", regions=[OTHER_REGION])

    assert [(part["source"], part["region"]) for part in done["parts"]] == [("directories", OTHER_REGION)]
    assert await listed(inventory) == []
    options = (await inventory.get("/workspaces/filters/options", headers=USER)).json()
    assert [one["name"] for one in options["directories"]] == ["corp.example.com", "lab.example.com"]


async def test_directory_that_aws_no_longer_lists_is_deleted(
    inventory: httpx.AsyncClient, double: Double, world: World
) -> None:
    aws.add_workspaces(world, 0, 1)
    await add_account(inventory, double)
    await sync(inventory)
    world.place().directories.pop()
    done = await sync(inventory)

    assert done["gone"] == 1
    options = (await inventory.get("/workspaces/filters/options", headers=USER)).json()
    assert [one["name"] for one in options["directories"]] == ["corp.example.com"]


class TestRefusals:
    async def test_users_may_not_start_a_sync_by_default(self, inventory: httpx.AsyncClient) -> None:
        response = await inventory.post("/sync/trigger", headers=USER)

        assert (response.status_code, response.json()["code"]) == (403, "sync_needs_admin")

    async def test_sync_without_an_account_is_refused(self, inventory: httpx.AsyncClient) -> None:
        response = await inventory.post("/sync/trigger?type=all", headers=ADMIN)

        assert (response.status_code, response.json()["code"]) == (409, "nothing_to_sync")

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"kind": "everything"}, "kind"),
            ({"regions": ["mars-north-1"]}, "regions"),
            ({"accounts": [new_id()]}, "accounts"),
            ({"accounts": []}, "accounts"),
            ({"more": 1}, "more"),
        ],
    )
    async def test_malformed_body_is_refused_with_the_name_of_the_field(
        self, inventory: httpx.AsyncClient, body: dict[str, Any], field: str
    ) -> None:
        response = await inventory.post("/sync/trigger", json=body, headers=ADMIN)

        assert response.status_code == 422
        assert [error["field"] for error in response.json()["errors"]] == [field]

    async def test_anonymous_caller_is_rejected_with_401(self, inventory: httpx.AsyncClient) -> None:
        for method, path in (("POST", "/sync/trigger"), ("GET", "/sync/history"), ("GET", "/workspaces")):
            assert (await inventory.request(method, path)).status_code == 401

    async def test_unknown_sync_is_404(self, inventory: httpx.AsyncClient) -> None:
        for method in ("GET", "DELETE"):
            response = await inventory.request(method, f"/sync/{new_id()}", headers=ADMIN)
            assert response.status_code == 404


async def test_history_lists_syncs_newest_first_with_their_totals(
    inventory: httpx.AsyncClient, double: Double, world: World
) -> None:
    aws.add_workspaces(world, 5, 1)
    await add_account(inventory, double)
    done = [await sync(inventory), await sync(inventory, kind="directories")]
    rows = (await inventory.get("/sync/history?limit=1", headers=USER)).json()
    every = (await inventory.get("/sync/history", headers=USER)).json()

    assert [row["id"] for row in every] == [one["id"] for one in reversed(done)]
    assert rows == every[:1]
    assert [(row["kind"], row["seen"], row["state"]) for row in every] == [
        ("directories", 2, "completed"),
        ("all", done[0]["seen"], "completed"),
    ]


def test_schedule_is_an_interval_or_the_times_of_cron_or_never(
    make_inventory_settings: Callable[..., Settings],
) -> None:
    assert make_inventory_settings().sync_times is None
    assert make_inventory_settings(sync_every_minutes=90).sync_times == 5400
    scheduled = make_inventory_settings(sync_every_minutes=90, sync_schedule="0 */6 * * *").sync_times
    assert isinstance(scheduled, Cron)
    assert scheduled.next_after(datetime(2026, 3, 1, 7, tzinfo=UTC)) == datetime(2026, 3, 1, 12, tzinfo=UTC)
    with pytest.raises(ValueError, match="sync_schedule"):
        make_inventory_settings(sync_schedule="every day")


@pytest.mark.prove
async def test_a_thousand_workspaces_are_all_found_with_every_seventh_call_throttled(
    inventory: httpx.AsyncClient, double: Double, world: World
) -> None:
    """A fifth of 5,000 by default; LENGTH=5 reads them all."""
    number = round(length(1_000))
    aws.add_workspaces(world, number, 1)
    world.throttle_every = 7
    await add_account(inventory, double)
    first = await sync(inventory)
    second = await sync(inventory)

    assert (first["state"], first["gone"]) == ("completed", 0)
    assert [part["changed"] for part in first["parts"][:2]] == [2, number]
    assert (second["state"], second["changed"], second["gone"]) == ("completed", 0, 0)
    assert found(await listed(inventory)) == expected(world)
    assert await listed(inventory, "gone=true") == []
