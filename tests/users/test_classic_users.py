"""Users in the older form: named objects, pages by number, and other names of states."""

from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import update

from services.auth.models import ACCOUNTS
from shared.clock import now
from shared.data.database import Database
from shared.ids import new_id
from shared.testing import bearer, token
from tests.users.support import StartUsers, register, register_known

ADMIN_ID = new_id()
NAMES = {"first_name": "Ada", "last_name": "Lovelace"}
PATH = "/classic/users"


async def send(
    users: httpx.AsyncClient, method: str, path: str, who: Any, body: Any = None, status: int = 200
) -> Any:
    response = await users.request(method, f"{PATH}{path}", json=body, headers=who)
    assert response.status_code == status, response.text
    return response.json()


async def admin_of(auth: httpx.AsyncClient) -> Any:
    return (await register(auth, role="admin")).headers


async def test_names_and_phone_are_replaced_and_the_rest_of_the_profile_stays(
    users: httpx.AsyncClient, auth: httpx.AsyncClient
) -> None:
    person = await register(auth, **NAMES)
    extra = {"bio": "Counts.", "avatar_url": "https://example.com/ada.png", "phone": "+49 30 123456"}
    assert (await users.put("/users/me", json=extra, headers=person.headers)).status_code == 200
    shown = (await send(users, "GET", "/me", person.headers))["user"]
    assert shown == {
        "id": person.id,
        "email": person.account["email"],
        **NAMES,
        "phone": "+49 30 123456",
        "avatar": "https://example.com/ada.png",
        "role": "user",
        "status": "active",
        "email_verified": False,
        "phone_verified": False,
        "created_at": shown["created_at"],
        "updated_at": shown["updated_at"],
    }
    changed = (await send(users, "PUT", "/me", person.headers, {**NAMES, "last_name": "King"}))["user"]
    assert (changed["last_name"], changed["phone"], changed["avatar"]) == ("King", None, shown["avatar"])
    assert (await users.get("/users/me", headers=person.headers)).json()["bio"] == "Counts."
    await send(users, "PUT", "/me", person.headers, {**NAMES, "phone": ""})
    for body in ({}, {**NAMES, "phone": "none"}, {**NAMES, "role": "admin"}):
        await send(users, "PUT", "/me", person.headers, body, 422)


async def test_admin_lists_changes_suspends_and_deletes_users(
    users: httpx.AsyncClient, auth: httpx.AsyncClient
) -> None:
    admin = await admin_of(auth)
    people = [await register_known(users, auth, **NAMES) for _ in range(3)]
    first = await send(users, "GET", "?page=1&limit=2", admin)
    assert [one["id"] for one in first["users"]] == [people[2].id, people[1].id]
    assert (first["total"], first["page"], first["limit"], first["total_pages"]) == (3, 1, 2, 2)
    path = f"/{people[0].id}"
    assert (await send(users, "PUT", path, admin, {**NAMES, "phone": "123"}))["user"]["phone"] == "123"
    assert await send(users, "PUT", f"{path}/status", admin, {"status": "inactive"}) == {"status": "inactive"}
    assert (await users.get(f"/users{path}", headers=admin)).json()["status"] == "disabled"
    assert (await send(users, "GET", path, admin))["user"]["status"] == "inactive"
    old = bearer(token(ADMIN_ID, role="admin", auth_time=1))
    await send(users, "PUT", f"{path}/status", old, {"status": "active"}, 401)

    assert await send(users, "DELETE", path, admin) == {}
    for method, body in (("GET", None), ("PUT", NAMES), ("DELETE", None)):
        await send(users, method, path, admin, body, 404)
    await send(users, "PUT", f"{path}/status", admin, {"status": "active"}, 404)
    assert (await send(users, "GET", "", admin))["total"] == 2


async def test_users_themselves_may_do_none_of_that(
    users: httpx.AsyncClient, auth: httpx.AsyncClient
) -> None:
    person, other = await register_known(users, auth), await register_known(users, auth)
    for one in (other, person):
        path = f"/{one.id}"
        for method, where, body in (
            *(("GET", "", None), ("GET", path, None), ("PUT", path, NAMES), ("DELETE", path, None)),
            ("PUT", f"{path}/status", {"status": "active"}),
        ):
            await send(users, method, where, person.headers, body, 403)
            await send(users, method, where, {}, body, 401)
    assert await send(users, "DELETE", "/me", person.headers) == {}
    await send(users, "GET", "/me", person.headers, status=404)


async def test_confirmed_addresses_are_told_from_others(
    start_users: StartUsers, empty_auth_url: str, empty_auth: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with start_users(empty_auth_url) as users:
        confirmed, other = [await register_known(users, empty_auth) for _ in range(2)]
        with closing(Database(f"sqlite:///{tmp_path}/auth/auth.db", pool_size=1)) as database:
            confirming = update(ACCOUNTS).where(ACCOUNTS.c.id == confirmed.id).values(verified=now())
            with database.transaction() as session:
                session.connection().execute(confirming)
        listed = (await send(users, "GET", "", bearer(token(role="admin"))))["users"]
        own = (await send(users, "GET", "/me", confirmed.headers))["user"]
    verified = {one["id"]: one["email_verified"] for one in listed}
    assert verified == {confirmed.id: True, other.id: False}
    assert own["email_verified"]
