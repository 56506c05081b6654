"""Settings in the older form: named objects, pages by number, other names of fields."""

from typing import Any

import httpx
import pytest

from shared.testing import bearer, token
from tests.users.support import Person, register

ADMIN = bearer(token(role="admin"))
SYSTEM, OWN = "/classic/settings/system", "/classic/settings/user"
FIELDS = {
    *("id", "user_id", "key", "value", "type", "is_encrypted", "description", "is_system"),
    *("created_at", "updated_at"),
}
BODY = {"value": "3", "type": "number"}


@pytest.fixture
async def ada(auth: httpx.AsyncClient) -> Person:
    return await register(auth)


async def send(
    users: httpx.AsyncClient, method: str, path: str, who: dict[str, str], body: Any = None, status: int = 200
) -> Any:
    response = await users.request(method, path, json=body, headers=who)
    assert response.status_code == status, response.text
    return response.json()


async def test_admin_adds_reads_replaces_and_deletes_a_setting(users: httpx.AsyncClient) -> None:
    added = await send(users, "POST", SYSTEM, ADMIN, {"key": "a.b", "description": "", **BODY}, 201)
    setting = added["setting"]
    assert setting.keys() == FIELDS
    assert (setting["user_id"], setting["is_system"], setting["description"]) == (None, True, None)
    changed = {"value": "4", "type": "number", "is_encrypted": False, "description": "Shown"}
    replaced = await send(users, "PUT", f"{SYSTEM}/a.b", ADMIN, changed)

    assert (replaced["setting"]["value"], replaced["setting"]["description"]) == ("4", "Shown")
    assert await send(users, "GET", f"{SYSTEM}/a.b", ADMIN) == replaced
    assert await send(users, "DELETE", f"{SYSTEM}/a.b", ADMIN) == {}
    await send(users, "GET", f"{SYSTEM}/a.b", ADMIN, status=404)
    await send(users, "DELETE", f"{SYSTEM}/a.b", ADMIN, status=404)


async def test_system_setting_that_is_not_stored_is_not_found(users: httpx.AsyncClient) -> None:
    for key in ("other", "site.name"):  # the second has a default in the native form
        await send(users, "GET", f"{SYSTEM}/{key}", ADMIN, status=404)
        await send(users, "PUT", f"{SYSTEM}/{key}", ADMIN, BODY, status=404)


async def test_system_settings_are_for_admins(users: httpx.AsyncClient, ada: Person) -> None:
    for method, path, body in (
        ("GET", SYSTEM, None),
        ("POST", SYSTEM, {"key": "a", **BODY}),
        ("GET", f"{SYSTEM}/a", None),
        ("PUT", f"{SYSTEM}/a", BODY),
        ("DELETE", f"{SYSTEM}/a", None),
    ):
        await send(users, method, path, ada.headers, body, status=403)


async def test_put_creates_and_replaces_an_own_setting(users: httpx.AsyncClient, ada: Person) -> None:
    created = await send(users, "PUT", f"{OWN}/theme", ada.headers, BODY)
    replaced = await send(users, "PUT", f"{OWN}/theme", ada.headers, {"value": "x", "type": "string"})

    assert created["setting"].keys() == FIELDS
    assert (created["setting"]["user_id"], created["setting"]["is_system"]) == (ada.id, False)
    assert replaced["setting"]["id"] == created["setting"]["id"]
    assert await send(users, "GET", f"{OWN}/theme", ada.headers) == replaced
    assert await send(users, "DELETE", f"{OWN}/theme", ada.headers) == {}
    await send(users, "GET", f"{OWN}/theme", ada.headers, status=404)


async def test_wrong_value_is_refused(users: httpx.AsyncClient, ada: Person) -> None:
    body = {"value": "many", "type": "number"}
    refused = await send(users, "PUT", f"{OWN}/a", ada.headers, body, status=422)

    assert [fault["field"] for fault in refused["errors"]] == ["value"]


@pytest.mark.parametrize("path", [SYSTEM, OWN])
async def test_pages_have_numbers_and_totals(users: httpx.AsyncClient, ada: Person, path: str) -> None:
    who = ADMIN if path == SYSTEM else ada.headers
    for number in range(3):
        native = f"{path.removeprefix('/classic')}/k{number}"
        await send(users, "PUT", native, who, BODY)
    page = await send(users, "GET", f"{path}?page=2&limit=2", who)

    assert [one["key"] for one in page.pop("settings")] == ["k0"]
    assert page == {"total": 3, "page": 2, "limit": 2, "total_pages": 2}
    await send(users, "GET", f"{path}?limit=0", who, status=422)
