"""Deleting an account erases the person at auth and here, even if one of the two is late."""

import asyncio
from collections.abc import Callable

import httpx
import pytest
from sqlalchemy import func, select

from services.users.models import PREFERENCES as PREFERENCES_TABLE
from shared.data.database import Database
from shared.ids import new_id
from shared.testing import bearer, token
from tests.users.support import (
    NOWHERE,
    PASSWORD,
    Person,
    StartUsers,
    register,
    register_admin,
    tag,
    tell_deleted,
)

PERSONAL = ("email", "username", "first_name", "last_name", "phone", "bio", "avatar_url")
PREFERENCES = "/users/me/preferences"


async def register_ada(users: httpx.AsyncClient, auth: httpx.AsyncClient) -> Person:
    """An account with all personal fields and preferences."""
    ada = await register(auth, username=tag(), first_name="Ada", last_name="Lovelace")
    about = {"phone": "+44 20 7946 0018", "bio": "Countess", "avatar_url": "https://example.com/ada.png"}
    changed = await users.put("/users/me", json=about, headers=ada.headers)
    assert all(changed.json()[name] for name in PERSONAL)
    await users.put(PREFERENCES, json={"theme": "dark"}, headers=ada.headers)
    return ada


async def assert_erased(users: httpx.AsyncClient, ada: Person, admin: Person) -> None:
    shown = await users.get(ada.address, headers=admin.headers)
    assert shown.status_code == 200
    assert shown.json()["status"] == "deleted"
    assert [shown.json()[name] for name in PERSONAL] == [None] * len(PERSONAL)
    for address in ("/users/me", ada.address, PREFERENCES):
        assert (await users.get(address, headers=ada.headers)).status_code == 404
    found = await users.get("/users", params={"q": "Ada Lovelace"}, headers=admin.headers)
    assert ada.id not in [profile["id"] for profile in found.json()]


@pytest.fixture
def preferences_kept(database_url: str) -> Callable[[Person], int]:
    """The number of preference rows still stored for a person."""

    def count(person: Person) -> int:
        database = Database(database_url, pool_size=1)
        try:
            with database.transaction(write=False) as session:
                rows = select(func.count()).where(PREFERENCES_TABLE.c.user_id == person.id)
                return session.connection().execute(rows).scalar_one()
        finally:
            database.close()

    return count


async def test_deleting_oneself_erases_profile_and_preferences(
    users: httpx.AsyncClient, auth: httpx.AsyncClient, preferences_kept: Callable[[Person], int]
) -> None:
    admin, ada = await register_admin(auth), await register_ada(users, auth)
    assert preferences_kept(ada) == 1
    response = await users.delete(ada.address, headers=ada.headers)

    assert response.status_code == 204
    assert response.content == b""
    assert preferences_kept(ada) == 0
    await assert_erased(users, ada, admin)
    account = (await auth.get(f"/internal/accounts/{ada.id}")).json()
    assert account["status"] == "deleted"
    assert account["email"] != ada.account["email"]


async def test_deletion_at_users_me_deletes_the_account(
    users: httpx.AsyncClient, auth: httpx.AsyncClient
) -> None:
    admin, ada = await register_admin(auth), await register_ada(users, auth)

    assert (await users.delete("/users/me", headers=ada.headers)).status_code == 204
    assert (await users.delete("/users/me", headers=ada.headers)).status_code == 404
    await assert_erased(users, ada, admin)


async def test_deletion_by_an_admin_is_idempotent(users: httpx.AsyncClient, auth: httpx.AsyncClient) -> None:
    admin, ada = await register_admin(auth), await register_ada(users, auth)

    assert (await users.delete(ada.address, headers=admin.headers)).status_code == 204
    assert (await users.delete(ada.address, headers=admin.headers)).status_code == 204
    await assert_erased(users, ada, admin)


async def test_impersonating_admin_cannot_delete_the_account(
    users: httpx.AsyncClient, auth: httpx.AsyncClient
) -> None:
    ada = await register(auth)
    acting = bearer(token(ada.id, act={"sub": new_id()}))
    for address in ("/users/me", ada.address):
        response = await users.delete(address, headers=acting)
        assert (response.status_code, response.json()["code"]) == (403, "impersonated")
    assert (await users.get("/users/me", headers=acting)).json()["status"] == "active"


async def test_account_without_a_profile_is_deleted(
    users: httpx.AsyncClient, auth: httpx.AsyncClient
) -> None:
    admin, ada = await register_admin(auth), await register(auth)

    assert (await users.delete(ada.address, headers=admin.headers)).status_code == 204
    await assert_erased(users, ada, admin)


async def test_email_can_be_used_again(users: httpx.AsyncClient, auth: httpx.AsyncClient) -> None:
    admin, ada = await register_admin(auth), await register_ada(users, auth)
    await users.delete(ada.address, headers=ada.headers)
    body = {"email": ada.account["email"], "password": PASSWORD, "username": ada.account["username"]}
    response = await users.post("/users", json=body, headers=admin.headers)

    assert response.status_code == 201
    assert response.json()["id"] != ada.id


async def test_deleted_profile_cannot_be_changed(users: httpx.AsyncClient, auth: httpx.AsyncClient) -> None:
    admin, ada = await register_admin(auth), await register_ada(users, auth)
    await users.delete(ada.address, headers=ada.headers)
    by_admin = await users.put(ada.address, json={"bio": "x"}, headers=admin.headers)
    revived = await users.put(ada.address, json={"status": "active"}, headers=admin.headers)
    by_herself = await users.put("/users/me", json={"bio": "x"}, headers=ada.headers)
    preferences = await users.put(PREFERENCES, json={"a": 1}, headers=ada.headers)

    assert by_admin.status_code == 409
    assert by_admin.json()["code"] == "profile_deleted"
    assert revived.status_code == 404
    assert by_herself.status_code == 404
    assert preferences.status_code == 404
    await assert_erased(users, ada, admin)


async def test_stale_version_is_rejected_with_412(users: httpx.AsyncClient, auth: httpx.AsyncClient) -> None:
    ada = await register_ada(users, auth)
    refused = await users.delete(ada.address, headers=ada.headers | {"If-Match": '"1"'})

    assert refused.status_code == 412
    assert (await auth.get(f"/internal/accounts/{ada.id}")).json()["status"] == "active"
    etag = (await users.get("/users/me", headers=ada.headers)).headers["etag"]
    done = await users.delete(ada.address, headers=ada.headers | {"If-Match": etag})
    assert done.status_code == 204


async def test_deletion_is_503_while_auth_is_down(
    users: httpx.AsyncClient, auth: httpx.AsyncClient, start_users: StartUsers
) -> None:
    ada = await register_ada(users, auth)
    async with start_users(NOWHERE) as alone:
        response = await alone.delete(ada.address, headers=ada.headers)
        shown = await alone.get("/users/me", headers=ada.headers)

    assert response.status_code == 503
    assert shown.json()["email"] == ada.account["email"]


async def test_deletion_is_completed_after_a_crash_between_both_steps(
    users: httpx.AsyncClient,
    auth: httpx.AsyncClient,
    start_users: StartUsers,
    auth_url: str,
    preferences_kept: Callable[[Person], int],
) -> None:
    admin, ada = await register_admin(auth), await register_ada(users, auth)
    deleted = await auth.delete(
        f"/internal/accounts/{ada.id}"
    )  # the only step the process completed before it died
    assert deleted.status_code == 204

    async with start_users(auth_url) as restarted:
        await tell_deleted(restarted, ada)
        await assert_erased(restarted, ada, admin)
    assert preferences_kept(ada) == 0


async def test_repeated_deletion_by_the_owner_completes_it(
    users: httpx.AsyncClient, auth: httpx.AsyncClient
) -> None:
    admin, ada = await register_admin(auth), await register_ada(users, auth)
    await auth.delete(f"/internal/accounts/{ada.id}")

    assert (await users.delete("/users/me", headers=ada.headers)).status_code == 204
    await assert_erased(users, ada, admin)


async def test_first_reads_during_a_deletion_do_not_restore_the_person(
    users: httpx.AsyncClient, auth: httpx.AsyncClient
) -> None:
    admin, ada = await register_admin(auth), await register(auth, first_name="Ada")
    reads = [users.get("/users/me", headers=ada.headers) for _ in range(10)]
    writes = [users.put(PREFERENCES, json={"n": n}, headers=ada.headers) for n in range(10)]
    deletes = [users.delete(ada.address, headers=admin.headers) for _ in range(2)]
    responses = await asyncio.gather(*reads[:5], *writes[:5], *deletes, *reads[5:], *writes[5:])

    assert {response.status_code for response in responses} <= {200, 204, 404, 409}
    await assert_erased(users, ada, admin)
