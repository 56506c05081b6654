"""Changes at AWS: off by default, tried out first, approved by another admin, and made once."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from services.inventory.app import create_app
from services.inventory.settings import Settings
from shared.ids import new_id
from shared.testing import bearer, running, token
from tests.inventory import aws
from tests.inventory.aws import Double, World
from tests.inventory.support import ADMIN_ID, SECONDS, USER, add_account, listed, sync

PATH = "/admin/changes"


APPROVER_ID = new_id()


def admin_headers(account_id: str, **claims: Any) -> dict[str, str]:
    """Return the headers of an admin who has just signed in: after 15 minutes that is no longer recent."""
    return bearer(token(account_id, role="admin", auth_time=int(time.time()), acr="1", **claims))


def asker() -> dict[str, str]:
    return admin_headers(ADMIN_ID)


def approver() -> dict[str, str]:
    return admin_headers(APPROVER_ID)


@pytest.fixture
async def changing(
    make_inventory_settings: Callable[..., Settings],
    database_url: str,
    double: Double,
    world: World,
) -> AsyncIterator[httpx.AsyncClient]:
    """The service with changes switched on, and one AlwaysOn WorkSpace."""
    settings = make_inventory_settings(database_url=database_url, aws_changes=True)
    async with running(create_app, settings) as client:
        await _fill(client, double, world)
        yield client


async def _fill(client: httpx.AsyncClient, double: Double, world: World) -> None:
    aws.add_workspaces(world, 1, 1)
    (workspace,) = world.place().workspaces.values()
    workspace |= {"State": "STOPPED"}
    workspace["WorkspaceProperties"] |= {"RunningMode": "ALWAYS_ON", "ComputeTypeName": "POWER"}
    await add_account(client, double)
    await sync(client, kind="workspaces")


async def ask(
    client: httpx.AsyncClient, world: World, headers: dict[str, str] | None = None, **body: Any
) -> httpx.Response:
    asked = {"workspace_id": min(world.place().workspaces), "running_mode": "AUTO_STOP", **body}
    return await client.post(PATH, json=asked, headers=headers or asker())


async def asked(client: httpx.AsyncClient, world: World, **body: Any) -> str:
    """Try a change out, ask for it, and return its path."""
    assert (await ask(client, world, **body)).status_code == 201
    response = await ask(client, world, dry_run=False, **body)
    assert (response.status_code, response.json()["state"]) == (201, "asked"), response.text
    return f"{PATH}/{response.json()['id']}"


async def decide(client: httpx.AsyncClient, path: str, state: str, headers: dict[str, str]) -> httpx.Response:
    return await client.put(path, json={"state": state}, headers=headers)


async def made(client: httpx.AsyncClient, change_id: str) -> dict[str, Any]:
    """Wait until an approved change was made or has failed."""
    async with asyncio.timeout(SECONDS):
        while True:
            rows: list[dict[str, Any]] = (await client.get(PATH, headers=asker())).json()
            (row,) = [one for one in rows if one["id"] == change_id]
            if row["state"] != "approved":
                return row
            await asyncio.sleep(0.02)


async def test_dry_run_says_what_would_happen_and_changes_nothing(
    changing: httpx.AsyncClient, world: World
) -> None:
    response = await ask(changing, world, compute_type="PERFORMANCE")

    row = response.json()
    assert (response.status_code, row["state"]) == (201, "tried")
    assert row["wanted"] == {"running_mode": "AUTO_STOP", "compute_type": "PERFORMANCE"}
    assert row["before"] == {"running_mode": "ALWAYS_ON", "compute_type": "POWER"}
    assert "RunningMode from ALWAYS_ON to AUTO_STOP" in row["result"]
    assert world.count("ModifyWorkspaceProperties") == 0


async def test_change_approved_by_another_admin_is_made_and_found_by_the_next_sync(
    changing: httpx.AsyncClient, world: World
) -> None:
    path = await asked(changing, world, compute_type="PERFORMANCE")
    own = await decide(changing, path, "approved", asker())
    assert (own.status_code, own.json()["code"]) == (403, "own_change")
    assert world.count("ModifyWorkspaceProperties") == 0
    approved = await decide(changing, path, "approved", approver())
    assert (approved.status_code, approved.json()["state"]) == (200, "approved")

    row = await made(changing, approved.json()["id"])
    assert (row["state"], row["asked_by"]) == ("done", ADMIN_ID)
    assert world.count("ModifyWorkspaceProperties") == 2  # AWS takes one property at a time
    assert (await decide(changing, path, "approved", approver())).json()["code"] == "illegal_state"
    await sync(changing, kind="workspaces")
    (workspace,) = await listed(changing)
    assert (workspace["running_mode"], workspace["compute_type"]) == ("AUTO_STOP", "PERFORMANCE")


async def test_change_that_was_not_tried_out_is_refused(changing: httpx.AsyncClient, world: World) -> None:
    first = await ask(changing, world, dry_run=False)
    assert (first.status_code, first.json()["code"]) == (409, "dry_run_first")
    await ask(changing, world)
    other = await ask(changing, world, dry_run=False, compute_type="PERFORMANCE")
    assert other.json()["code"] == "dry_run_first"


async def test_refused_change_is_not_made(changing: httpx.AsyncClient, world: World) -> None:
    path = await asked(changing, world)
    refused = await decide(changing, path, "refused", asker())

    assert (refused.status_code, refused.json()["state"]) == (200, "refused")
    assert (await decide(changing, path, "approved", approver())).status_code == 409
    assert [
        one["state"] for one in (await changing.get(f"{PATH}?state=refused", headers=asker())).json()
    ] == ["refused"]


async def test_failure_at_aws_is_said_and_names_the_permission(
    changing: httpx.AsyncClient, world: World
) -> None:
    world.denied.add("workspaces:ModifyWorkspaceProperties")
    path = await asked(changing, world)
    row = await made(changing, (await decide(changing, path, "approved", approver())).json()["id"])

    assert row["state"] == "failed"
    assert row["result"].startswith("workspaces:ModifyWorkspaceProperties failed with AccessDenied")


async def test_admin_who_impersonates_another_cannot_approve(
    changing: httpx.AsyncClient, world: World
) -> None:
    path = await asked(changing, world)
    other = admin_headers(new_id(), act={"sub": ADMIN_ID})
    response = await decide(changing, path, "approved", other)

    assert (response.status_code, response.json()["code"]) == (403, "impersonated")
    assert (await ask(changing, world, other)).status_code == 403


async def test_malformed_and_foreign_requests_are_refused(changing: httpx.AsyncClient, world: World) -> None:
    for body in (
        {"running_mode": None},
        {"running_mode": "MANUAL"},
        {"running_mode": "ALWAYS_ON"},
        {"compute_type": "HUGE"},
        {"workspace_id": "x"},
    ):
        assert (await ask(changing, world, **body)).status_code == 422, body
    assert (await ask(changing, world, workspace_id="ws-000000000")).status_code == 404
    assert (await ask(changing, world, USER)).status_code == 403
    assert (await changing.post(PATH, json={})).status_code == 401
    path = await asked(changing, world)
    old = bearer(token(new_id(), role="admin", auth_time=int(time.time()) - 3600, acr="1"))
    assert (await decide(changing, path, "approved", old)).status_code == 401
    assert (await decide(changing, path, "done", approver())).status_code == 422
    stale = await changing.put(path, json={"state": "approved"}, headers={**approver(), "If-Match": '"9"'})
    assert stale.status_code == 412


async def test_without_the_switch_only_dry_runs_are_possible(
    inventory: httpx.AsyncClient, double: Double, world: World
) -> None:
    await _fill(inventory, double, world)

    assert (await ask(inventory, world)).status_code == 201
    response = await ask(inventory, world, dry_run=False)
    assert (response.status_code, response.json()["code"]) == (403, "changes_off")
