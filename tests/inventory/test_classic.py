"""The requests of the first web interface, and what it reads of the responses."""

import csv
import io
import json
from datetime import timedelta
from typing import Any

import httpx
import pytest

from services.inventory.classic import lists
from shared.clock import now
from shared.lists.search import find_page
from tests.inventory import aws
from tests.inventory.aws import HOME, KEY_ID, NUMBER, SECRET, Double, World
from tests.inventory.support import ADMIN, USER, add_account, ended, sync
from tests.shared.test_workbooks import read

Rows = list[dict[str, Any]]
BODY = {"name": "main", "region": "eu-central-1", "accessKeyId": KEY_ID, "secretAccessKey": SECRET}
PATH = "/classic/admin/aws-accounts"


@pytest.fixture
async def filled(inventory: httpx.AsyncClient, double: Double, world: World) -> httpx.AsyncClient:
    """An inventory of 30 WorkSpaces, one of which is gone, with usage, costs and events."""
    aws.add_workspaces(world, 30, 1)
    place, first = world.place(), min(world.place().workspaces)
    yesterday = now().replace(hour=9, minute=0, second=0, microsecond=0) - timedelta(days=1)
    place.connected[first] = [yesterday + timedelta(minutes=5 * one) for one in range(9)]
    world.place(NUMBER, HOME).costs.append(
        {"day": yesterday.date().isoformat(), "resource": first, "usage_type": "A", "region": "r"}
        | {"amount": "12.3456789", "quantity": "1"}
    )
    created = [{"workspaceId": first}]
    aws.add_event(
        place,
        1,
        yesterday,
        username="boss",
        name="CreateWorkspaces",
        responseElements={"pendingRequests": created},
        requestParameters=None,
    )
    await add_account(inventory, double)
    await sync(inventory)
    del place.workspaces[max(place.workspaces)]
    await sync(inventory)
    return inventory


async def get(inventory: httpx.AsyncClient, path: str) -> Any:
    response = await inventory.get(f"/classic{path}", headers=USER)
    assert response.status_code == 200, response.text
    return response.json()


async def test_pages_read_what_the_web_interface_reads(filled: httpx.AsyncClient, world: World) -> None:
    first = min(world.place().workspaces)
    shown = await get(filled, "/dashboard")
    assert (shown["total_workspaces"], shown["terminated_workspaces"]) == (30, 1)
    assert shown["active_workspaces"] + shown["stopped_workspaces"] <= 29
    assert isinstance(shown["current_month_usage"]["total_hours"], float)
    assert isinstance(shown["current_month_usage"]["avg_hours"], float)
    assert shown["last_sync"].endswith(" UTC")

    syncs = (await get(filled, "/sync/history?limit=10"))["data"]
    assert [(one["sync_type"], one["status"]) for one in syncs] == [("all", "completed")] * 2
    assert syncs[0]["records_processed"] > 0
    assert syncs[0]["started_at"] is not None

    page = await get(filled, "/workspaces?offset=0&limit=25")
    assert (len(page["data"]), page["total"], page["limit"], page["offset"]) == (25, 30, 25, 0)
    rest = await get(filled, "/workspaces?offset=25&limit=25")
    ids = [one["workspace_id"] for one in [*page["data"], *rest["data"]]]
    assert len(set(ids)) == 30
    created = next(one for one in [*page["data"], *rest["data"]] if one["workspace_id"] == first)
    assert (created["created_by"], created["root_volume_size_gib"]) == ("boss", 80)
    assert created == await get(filled, f"/workspaces/{first}")

    used = (await get(filled, f"/usage?workspace_id={first}"))["data"]
    assert [one["usage_hours"] for one in used] in ([2.0], [2.0, 0.0], [0.0, 2.0])
    assert {one["user_name"] for one in used} == {"ann"}
    (cost,) = (await get(filled, "/billing?user_name=AN"))["data"]
    assert (cost["amount"], cost["user_name"], cost["currency"]) == (12.35, "ann", "USD")
    assert cost["end_date"] > cost["start_date"]
    (event,) = (await get(filled, "/cloudtrail?event_name=CreateWorkspaces"))["data"]
    assert (event["source_ip_address"], event["aws_region"]) == ("192.0.2.7", "eu-central-1")
    assert event["workspace_id"] == first
    assert event == await get(filled, f"/cloudtrail/{event['id']}")
    metrics = await get(filled, f"/workspaces/{first}/metrics")
    assert (metrics["usage"], metrics["billing"]) == (used, [cost])


async def test_filters_select_rows_and_empty_ones_count_as_not_given(filled: httpx.AsyncClient) -> None:
    every: Rows = (await get(filled, "/workspaces?limit=200"))["data"]
    options = await get(filled, "/workspaces/filters/options")
    assert set(options["runningModes"]) == {one["running_mode"] for one in every}
    user = every[3]["user_name"]
    cases = {
        "user_name=&state=&running_mode=&terminated=": every,
        "terminated=true": [one for one in every if one["state"] == "TERMINATED"],
        "terminated=false": [one for one in every if one["state"] != "TERMINATED"],
        "state=TERMINATED": [one for one in every if one["state"] == "TERMINATED"],
        "state=STOPPED": [one for one in every if one["state"] == "STOPPED"],
        "running_mode=ALWAYS_ON": [one for one in every if one["running_mode"] == "ALWAYS_ON"],
        f"user_name={user}": [one for one in every if one["user_name"] == user],
    }
    for query, wanted in cases.items():
        page = await get(filled, f"/workspaces?limit=200&{query}")
        assert (page["data"], page["total"]) == (wanted, len(wanted)), query
    today = now().date()
    dated = {
        f"/billing?start_date={today - timedelta(days=1)}&end_date={today}": 1,
        f"/billing?start_date={today}": 0,
        "/billing?service=Amazon%20WorkSpaces": 1,
        "/billing?service=Amazon%20EC2": 0,
        "/usage?user_name=an&month_from=2020-01&month_to=2099-12": None,
        "/usage?month_to=2020-01": 0,
        f"/cloudtrail?from_date={today - timedelta(days=1)}&to_date={today}": 1,
        f"/cloudtrail?from_date={today}": 0,
        "/cloudtrail?username=boss&event_name=&workspace_id=": 1,
        "/cloudtrail?username=ann": 0,
    }
    for path, number in dated.items():
        page = await get(filled, path)
        assert page["total"] == len(page["data"]), path
        assert page["total"] > 0 if number is None else page["total"] == number, path


async def test_exports_have_the_rows_of_the_list(filled: httpx.AsyncClient) -> None:
    every: Rows = (await get(filled, "/workspaces?limit=200"))["data"]
    for name, number in (("usage", None), ("billing", 1), ("cloudtrail", 1), ("workspaces", 30)):
        path = f"/classic/{name}/export?user_name=" if name != "cloudtrail" else f"/classic/{name}/export?"
        text = await filled.get(f"{path}&format=csv", headers=USER)
        book = await filled.get(f"{path}&format=xlsx", headers=USER)
        header, *lines = csv.reader(io.StringIO(text.text))
        titles, *cells = read(book.content)
        assert (text.status_code, book.status_code) == (200, 200), name
        assert titles == header
        assert len(cells) == len(lines) > 0
        assert number in (None, len(lines)), name
        assert book.headers["content-disposition"].endswith('.xlsx"')
        assert "spreadsheetml" in book.headers["content-type"]
    assert [line[0] for line in lines] == [one["workspace_id"] for one in every]
    assert [row[0] for row in cells] == [one["workspace_id"] for one in every]
    some = await filled.get("/classic/workspaces/export?format=excel&terminated=true", headers=USER)
    assert len(read(some.content)) == 2


async def test_export_searches_for_users_once_for_all_its_pages(
    filled: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches: list[str] = []

    def counted(*given: Any) -> Any:
        searches.append("search")
        return find_page(*given)

    monkeypatch.setattr(lists, "find_page", counted)
    monkeypatch.setattr(lists, "PAGE_ROWS_MAX", 1)
    every: Rows = (await get(filled, "/usage?user_name=a"))["data"]
    assert len(every) > 1
    searches.clear()
    text = (await filled.get("/classic/usage/export?user_name=a&format=csv", headers=USER)).text

    assert len(text.splitlines()) == len(every) + 1
    assert len(searches) == 1


async def test_sync_is_triggered_by_its_type(inventory: httpx.AsyncClient, double: Double) -> None:
    await add_account(inventory, double)
    path = "/classic/sync/trigger?type=active_directory"
    assert (await inventory.post(path, headers=USER)).status_code == 403
    started = await inventory.post(path, headers=ADMIN)
    assert (started.status_code, started.json()["sync_type"]) == (202, "active_directory")
    done = await ended(inventory, started.json()["sync_id"])
    assert [part["source"] for part in done["parts"]] == ["directories"]
    assert (await inventory.post("/classic/sync/trigger?type=x", headers=ADMIN)).status_code == 422


async def test_question_is_answered_in_words(filled: httpx.AsyncClient) -> None:
    body = {"prompt": "how many workspaces", "temperature": 0.1, "max_tokens": 512}
    response = await filled.post("/classic/ai/query", json=body, headers=USER)

    assert response.json()["response"].startswith("Number of WorkSpaces, at most 100: 29.")
    assert response.json()["tokens"] > 0
    assert (await get(filled, "/ai/health")) == {"status": "healthy"}


class TestAccounts:
    async def test_account_is_added_changed_and_deleted_without_showing_its_keys(
        self, inventory: httpx.AsyncClient
    ) -> None:
        added = await inventory.post(PATH, json={**BODY, "isDefault": True}, headers=ADMIN)
        assert added.status_code == 201, added.text
        one = f"{PATH}/{added.json()['id']}"
        empty = {"accessKeyId": "", "secretAccessKey": "", "isDefault": False}
        changed = await inventory.put(
            one, json={**empty, "name": "other", "region": "us-east-1"}, headers=ADMIN
        )
        shown = (await inventory.get(PATH, headers=ADMIN)).json()["accounts"]

        assert changed.status_code == 200, changed.text
        assert [(row["name"], row["region"], row["isDefault"]) for row in shown] == [
            ("other", "us-east-1", False)
        ]
        assert shown[0] == (await inventory.get(one, headers=ADMIN)).json()
        assert SECRET not in json.dumps([added.json(), changed.json(), shown])
        assert KEY_ID not in json.dumps([added.json(), changed.json(), shown])
        assert (await inventory.delete(one, headers=ADMIN)).status_code == 200
        assert (await inventory.get(one, headers=ADMIN)).status_code == 404

    async def test_account_test_succeeds_with_right_keys_and_gives_400_with_wrong_ones(
        self, inventory: httpx.AsyncClient, double: Double
    ) -> None:
        account = await add_account(inventory, double)
        wrong = await add_account(
            inventory, double, name="wrong", access_key_id=KEY_ID, secret_access_key="x" * 40
        )
        good = await inventory.get(f"{PATH}/{account['id']}/test", headers=ADMIN)
        bad = await inventory.get(f"{PATH}/{wrong['id']}/test", headers=ADMIN)

        assert (good.status_code, good.json()["status"]) == (200, "connected")
        assert (good.json()["accountId"], good.json()["details"]) == (NUMBER, "")
        assert (bad.status_code, bad.json()["code"]) == (400, "account_refused")

    async def test_sync_of_one_account_starts(self, inventory: httpx.AsyncClient, double: Double) -> None:
        account = await add_account(inventory, double)
        started = await inventory.post(f"{PATH}/{account['id']}/sync", headers=ADMIN)

        assert (started.status_code, started.json()["account_name"]) == (202, "production")
        again = await inventory.post(f"{PATH}/{account['id']}/sync", headers=ADMIN)
        assert again.status_code in (202, 409)

    async def test_accounts_are_for_admins(self, inventory: httpx.AsyncClient) -> None:
        for method, path in (("GET", ""), ("POST", ""), ("GET", "/x/test"), ("POST", "/x/sync")):
            assert (await inventory.request(method, f"{PATH}{path}")).status_code == 401
            assert (await inventory.request(method, f"{PATH}{path}", headers=USER)).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/workspaces?limit=0",
        "/workspaces?offset=10001",
        "/workspaces?colour=red",
        "/workspaces?terminated=perhaps",
        "/usage?month_from=x",
        "/billing?start_date=x",
        "/cloudtrail?from_date=x",
        "/sync/history?limit=51",
        "/workspaces/export?format=pdf",
        "/usage/summary",
    ],
)
async def test_malformed_query_is_refused(inventory: httpx.AsyncClient, path: str) -> None:
    assert (await inventory.get(f"/classic{path}")).status_code == 401
    assert (await inventory.get(f"/classic{path}", headers=USER)).status_code == 422
