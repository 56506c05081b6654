"""The requests of the inventory's first web interface, page by page, through the gateway and in demo mode."""

import asyncio
import csv
import io
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from shared.testing import bearer
from tests.suite.conftest import Suite, running_suite

pytestmark = [pytest.mark.prove, pytest.mark.long(1)]

SECONDS = 180
WRONG = {"name": "wrong", "region": "eu-central-1", "accessKeyId": "AKIAWRONG00000000000"}
SECRET = "planted/secret+of+an+account/000000000000"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    with running_suite(tmp_path_factory.mktemp("demo"), {"INVENTORY_DEMO": "on"}) as suite:
        yield suite


async def read_until(
    client: httpx.AsyncClient, path: str, condition: Callable[[Any], bool]
) -> dict[str, Any]:
    """Repeat a request, as the pages do, until its response is as expected."""
    async with asyncio.timeout(SECONDS):
        while True:
            response = await client.get(f"/api/v1{path}")
            assert response.status_code == 200, response.text
            body: dict[str, Any] = response.json()
            if condition(body):
                return body
            await asyncio.sleep(0.2)


async def get(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    return await read_until(client, path, lambda _: True)


async def test_admin_walks_through_every_page(demo: Suite) -> None:
    async with demo.client() as client:
        wrong = await client.post("/auth/login", json={"username": "admin", "password": "not it"})
        assert (wrong.status_code, isinstance(wrong.json()["error"], str)) == (401, True)
        signed_in = await client.post("/auth/login", json={"username": "admin", "password": "admin123"})
        assert signed_in.json()["user"]["role"] == "ADMIN"
        client.headers.update(bearer(signed_in.json()["token"]))

        await _look_at_the_dashboard(client)
        await _filter_and_export(client)
        await _sync(client)
        await _look_at_usage_costs_and_calls(client)
        await _add_an_account_with_a_wrong_key(client)
        await _manage_users(client, signed_in.json()["user"]["id"])

    assert any("demo: the inventory shows an invented company" in line for line in demo.lines)
    assert not any(SECRET in line for line in demo.lines)


async def _look_at_the_dashboard(client: httpx.AsyncClient) -> None:
    page = await read_until(client, "/workspaces?limit=10", lambda body: body["total"] == 300)
    assert len(page["data"]) == 10
    recent = await get(client, "/sync/history?limit=5")
    assert recent["data"][0]["status"] in ("running", "completed")
    shown = await read_until(client, "/dashboard", lambda body: body["total_workspaces"] == 300)
    assert isinstance(shown["current_month_usage"]["total_hours"], float)
    assert shown["active_workspaces"] + shown["stopped_workspaces"] == 300


async def _filter_and_export(client: httpx.AsyncClient) -> None:
    options = await get(client, "/workspaces/filters/options")
    assert options["runningModes"] == ["ALWAYS_ON", "AUTO_STOP"]
    filters = "user_name=&state=&running_mode=ALWAYS_ON&terminated="
    page = await get(client, f"/workspaces?limit=25&offset=100&{filters}")
    assert (page["total"], len(page["data"]), page["offset"]) == (115, 15, 100)
    for form in ("csv", "xlsx"):
        file = await client.get(f"/api/v1/workspaces/export?format={form}&{filters}")
        assert file.status_code == 200
        assert file.headers["content-disposition"].endswith(f'.{form}"')
        if form == "csv":
            assert len([*csv.reader(io.StringIO(file.text))]) == 116


async def _sync(client: httpx.AsyncClient) -> None:
    def is_done(body: dict[str, Any]) -> bool:
        return all(one["status"] == "completed" for one in body["data"])

    await read_until(client, "/sync/history?limit=10", is_done)
    started = await client.post("/api/v1/sync/trigger?type=workspaces")
    assert started.status_code == 202, started.text
    done = await read_until(client, "/sync/history?limit=10", is_done)
    assert done["data"][0]["id"] == started.json()["sync_id"]
    assert done["data"][0]["records_processed"] == 301  # with the directory


async def _look_at_usage_costs_and_calls(client: httpx.AsyncClient) -> None:
    used = await get(client, "/usage?limit=25&offset=0&user_name=support&workspace_id=")
    assert all(row["user_name"].startswith("support-") for row in used["data"])
    assert used["total"] >= 80 * 11
    costs = await get(client, "/billing?limit=25&offset=0&user_name=&start_date=&end_date=")
    assert costs["total"] > 30_000
    assert isinstance(costs["data"][0]["amount"], float)
    calls = await get(client, "/cloudtrail?limit=25&offset=0&event_name=&username=help-desk")
    assert {row["aws_region"] for row in calls["data"]} == {"eu-central-1"}
    answer = await client.post("/api/v1/ai/query", json={"prompt": "how many workspaces by team"})
    assert "support, 80" in answer.json()["response"]


async def _add_an_account_with_a_wrong_key(client: httpx.AsyncClient) -> None:
    path = "/api/v1/admin/aws-accounts"
    added = await client.post(path, json={**WRONG, "secretAccessKey": SECRET})
    assert added.status_code == 201, added.text
    tested = await client.get(f"{path}/{added.json()['id']}/test")
    assert (tested.status_code, isinstance(tested.json()["error"], str)) == (400, True)
    listed = await client.get(path)
    assert [one["status"] for one in listed.json()["accounts"]] == ["connected", "error"]
    assert not any(SECRET in response.text for response in (added, tested, listed))
    for fields, field in (({"region": "moon"}, "region"), ({"secretAccessKey": ""}, "secretAccessKey")):
        refused = await client.post(path, json={**WRONG, "name": "x", "secretAccessKey": SECRET, **fields})
        assert (refused.status_code, refused.json()["error"].partition(":")[0]) == (422, field)


async def _manage_users(client: httpx.AsyncClient, own_id: str) -> None:
    """Add, promote and delete a user, as the page of settings does."""
    path = "/api/v1/admin/users"
    body = {"username": "helper", "email": "helper@example.com", "password": "correct horse", "role": "USER"}
    added = await client.post(path, json=body)
    assert added.status_code == 201, added.text
    one = f"{path}/{added.json()['user_id']}"
    again = await client.post(path, json=body)
    assert (again.status_code, isinstance(again.json()["error"], str)) == (409, True)
    assert (await client.put(one, json={"email": "", "role": "ADMIN", "password": ""})).status_code == 200
    (user, *_) = (await get(client, "/admin/users"))["users"]
    assert (user["username"], user["role"], user["duo_verified"]) == ("helper", "ADMIN", False)
    login = {"username": "helper", "password": "correct horse"}
    first = await client.post("/auth/login", json=login)
    assert (first.status_code, first.json()["code"]) == (403, "password_change_required")
    own = await client.delete(f"{path}/{own_id}")
    assert (own.status_code, own.json()["error"]) == (400, "You cannot delete your own account.")
    assert (await client.delete(one)).status_code == 200
    assert len((await get(client, "/admin/users"))["users"]) == 1
    assert (await client.post("/auth/login", json=login)).status_code == 401
