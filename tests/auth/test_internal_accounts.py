"""The internal account API for other services."""

import asyncio
from typing import Any

import httpx
import pytest

from services.auth.models import Account, LoginSession
from shared.ids import new_id
from shared.testing import bearer, internal_token, token
from tests.auth.mailbox import Mailbox
from tests.auth.support import PASSWORD, login, refresh, register, rows

ACCOUNTS = "/internal/accounts"
BOB = {"email": "bob@example.com", "password": PASSWORD, "username": "bob"}


def internal() -> dict[str, str]:
    return bearer(internal_token("auth"))


async def create(auth: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    body = {"email": f"{new_id()}@example.com", "password": PASSWORD} | fields
    response = await auth.post(ACCOUNTS, json=body, headers=internal())
    assert response.status_code == 201, response.text
    created: dict[str, Any] = response.json()
    return created


async def change(auth: httpx.AsyncClient, account_id: str, **changes: Any) -> httpx.Response:
    return await auth.patch(f"{ACCOUNTS}/{account_id}", json=changes, headers=internal())


async def only_admin(auth: httpx.AsyncClient) -> str:
    admin_id: str = (await login(auth, "admin", "admin123")).json()["user"]["id"]
    return admin_id


EVERY = [("POST", ""), ("GET", "/{id}"), ("PATCH", "/{id}"), ("DELETE", "/{id}")]


class TestAccess:
    @pytest.mark.parametrize(("method", "suffix"), EVERY)
    async def test_only_other_services_have_access(
        self, auth: httpx.AsyncClient, method: str, suffix: str
    ) -> None:
        account = await create(auth)
        address = ACCOUNTS + suffix.format(id=account["id"])
        admin = (await login(auth, "admin", "admin123")).json()["token"]
        body = {"POST": BOB, "PATCH": {"role": "admin"}}.get(method)
        for headers in (
            {},
            bearer(admin),
            bearer(token(role="admin")),
            bearer(internal_token("orders")),
            bearer(internal_token("auth", seconds=-60)),
        ):
            response = await auth.request(method, address, json=body, headers=headers)

            assert response.status_code == 401, headers
        assert (await auth.get(f"{ACCOUNTS}/{account['id']}", headers=internal())).json() == account

    async def test_internal_paths_are_not_in_the_public_document(self, auth: httpx.AsyncClient) -> None:
        paths = (await auth.get("/openapi.json")).json()["paths"]

        assert "/auth/register" in paths
        assert not [path for path in paths if path.startswith("/internal")]


class TestShow:
    async def test_account_is_shown_without_its_hash(self, auth: httpx.AsyncClient) -> None:
        registered = await register(auth, username="ann", first_name="Ann")
        response = await auth.get(f"{ACCOUNTS}/{registered['user']['id']}", headers=internal())

        assert response.status_code == 200
        assert response.json() == registered["user"]
        assert "hash" not in response.text

    @pytest.mark.parametrize(
        ("method", "body"), [("GET", None), ("PATCH", {"role": "user"}), ("DELETE", None)]
    )
    async def test_unknown_account_is_404(self, auth: httpx.AsyncClient, method: str, body: Any) -> None:
        response = await auth.request(method, f"{ACCOUNTS}/{new_id()}", json=body, headers=internal())

        assert response.status_code == 404

    @pytest.mark.parametrize(
        ("method", "body"), [("GET", None), ("PATCH", {"role": "user"}), ("DELETE", None)]
    )
    async def test_malformed_id_is_refused_with_422(
        self, auth: httpx.AsyncClient, method: str, body: Any
    ) -> None:
        response = await auth.request(method, f"{ACCOUNTS}/7", json=body, headers=internal())

        assert response.status_code == 422


class TestCreate:
    async def test_created_account_signs_in_with_a_new_password(self, auth: httpx.AsyncClient) -> None:
        body = BOB | {"role": "admin", "first_name": "Bob"}
        response = await auth.post(ACCOUNTS, json=body, headers=internal())

        assert response.status_code == 201
        account = response.json()
        assert (account["email"], account["role"], account["first_name"]) == (
            "bob@example.com",
            "admin",
            "Bob",
        )
        assert response.headers["location"] == f"{ACCOUNTS}/{account['id']}"
        by_admin = {"username": "bob", "password": PASSWORD}
        assert (await auth.post("/auth/login", json=by_admin)).json()["code"] == "password_change_required"
        signed_in = await auth.post("/auth/login", json=by_admin | {"new_password": PASSWORD * 2})
        assert signed_in.json()["user"] == {**account, "role": "ADMIN"}
        assert (await login(auth, "bob", PASSWORD * 2)).status_code == 200

    async def test_role_defaults_to_user(self, auth: httpx.AsyncClient) -> None:
        assert (await create(auth))["role"] == "user"

    @pytest.mark.parametrize(
        ("fields", "code"),
        [({"email": "BOB@example.com"}, "email_taken"), ({"username": "BOB"}, "username_taken")],
    )
    async def test_taken_name_is_refused_with_409(
        self, auth: httpx.AsyncClient, fields: dict[str, str], code: str
    ) -> None:
        await create(auth, **BOB)
        body = {"email": "other@example.com", "password": PASSWORD} | fields
        response = await auth.post(ACCOUNTS, json=body, headers=internal())

        assert response.status_code == 409
        assert response.json()["code"] == code

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"role": "root"}, "role"),
            ({"role": None}, "role"),
            ({"password": "short"}, "password"),
            ({"password": "bob@example.com"}, "password"),
            ({"email": "bob"}, "email"),
            ({"status": "active"}, "status"),
            ({"id": new_id()}, "id"),
        ],
    )
    async def test_malformed_body_is_refused_with_422(
        self, auth: httpx.AsyncClient, changes: dict[str, Any], field: str
    ) -> None:
        response = await auth.post(ACCOUNTS, json=BOB | changes, headers=internal())

        assert response.status_code == 422
        assert [error["field"] for error in response.json()["errors"]] == [field]


class TestChange:
    async def test_changed_names_sign_in(self, auth: httpx.AsyncClient) -> None:
        registered = await register(auth, username="bob")
        response = await change(auth, registered["user"]["id"], email="New@example.com", username="Robert")

        assert response.status_code == 200
        changed = response.json()
        assert (changed["email"], changed["username"]) == ("new@example.com", "Robert")
        assert changed["updated"] > registered["user"]["updated"]
        assert (await login(auth, "new@example.com")).status_code == 200
        assert (await login(auth, "ROBERT")).status_code == 200
        assert (await login(auth, "bob")).status_code == 401

    async def test_new_username_keeps_the_sessions(self, auth: httpx.AsyncClient) -> None:
        registered = await register(auth, username="bob")
        changes = {"username": "Robert", "email": registered["user"]["email"]}
        assert (await change(auth, registered["user"]["id"], **changes)).status_code == 200

        assert (await refresh(auth, registered["refresh_token"])).status_code == 200

    async def test_new_email_notifies_the_old_address(
        self, auth: httpx.AsyncClient, mailbox: Mailbox
    ) -> None:
        registered = await register(auth)
        old, account_id = registered["user"]["email"], registered["user"]["id"]
        await change(auth, account_id, email=old, role="user")
        assert mailbox.mails(old, "email_changed") == []
        await change(auth, account_id, email="new@example.com")

        assert len(mailbox.mails(old, "email_changed")) == 1
        assert mailbox.mails("new@example.com", "email_changed") == []

    async def test_case_of_a_username_can_be_changed(self, auth: httpx.AsyncClient) -> None:
        account = await create(auth, username="bob")

        assert (await change(auth, account["id"], username="BOB")).json()["username"] == "BOB"

    @pytest.mark.parametrize(
        ("changes", "code"),
        [({"email": "BOB@example.com"}, "email_taken"), ({"username": "BOB"}, "username_taken")],
    )
    async def test_taken_name_is_refused_with_409(
        self, auth: httpx.AsyncClient, changes: dict[str, str], code: str
    ) -> None:
        await create(auth, **BOB)
        account = await create(auth, username="ann")
        response = await change(auth, account["id"], **changes)

        assert response.status_code == 409
        assert response.json()["code"] == code
        assert (await auth.get(f"{ACCOUNTS}/{account['id']}", headers=internal())).json() == account

    async def test_one_of_ten_concurrent_changes_to_the_same_name_wins(self, auth: httpx.AsyncClient) -> None:
        accounts = [await create(auth) for _ in range(10)]
        responses = await asyncio.gather(*[change(auth, one["id"], username="wanted") for one in accounts])

        assert sorted(response.status_code for response in responses) == [200] + [409] * 9

    @pytest.mark.parametrize(
        "changes", [{"role": "admin"}, {"status": "disabled"}, {"email": "new@example.com"}]
    )
    async def test_new_role_or_status_or_email_ends_the_sessions_A11(
        self, auth: httpx.AsyncClient, changes: dict[str, str]
    ) -> None:
        registered = await register(auth)
        assert (await change(auth, registered["user"]["id"], **changes)).status_code == 200

        assert (await refresh(auth, registered["refresh_token"])).status_code == 401
        assert (await auth.get("/auth/me", headers=bearer(registered["token"]))).status_code == 401

    async def test_unchanged_role_and_status_keep_the_sessions(self, auth: httpx.AsyncClient) -> None:
        registered = await register(auth)
        await change(auth, registered["user"]["id"], role="user", status="active")

        assert (await refresh(auth, registered["refresh_token"])).status_code == 200

    async def test_disabled_account_can_sign_in_once_it_is_active_again(
        self, auth: httpx.AsyncClient
    ) -> None:
        account = (await register(auth, username="bob"))["user"]
        await change(auth, account["id"], status="disabled")
        assert (await login(auth, "bob")).status_code == 401
        await change(auth, account["id"], status="active")
        assert (await login(auth, "bob")).status_code == 200

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "body"),
            ({"email": None}, "body"),
            ({"email": "x"}, "email"),
            ({"username": "a@b"}, "username"),
            ({"role": "root"}, "role"),
            ({"status": "deleted"}, "status"),
            ({"password": "password123"}, "password"),
            ({"id": new_id()}, "id"),
        ],
    )
    async def test_malformed_body_is_refused_with_422(
        self, auth: httpx.AsyncClient, body: dict[str, Any], field: str
    ) -> None:
        account = await create(auth)
        response = await auth.patch(f"{ACCOUNTS}/{account['id']}", json=body, headers=internal())

        assert response.status_code == 422
        assert [error["field"] for error in response.json()["errors"]] == [field]


class TestLastAdmin:
    @pytest.mark.parametrize("changes", [{"role": "user"}, {"status": "disabled"}])
    async def test_last_admin_cannot_be_demoted_disabled_or_deleted_A11(
        self, auth: httpx.AsyncClient, changes: dict[str, str]
    ) -> None:
        admin_id = await only_admin(auth)
        refused = [
            await change(auth, admin_id, **changes),
            await auth.delete(f"{ACCOUNTS}/{admin_id}", headers=internal()),
        ]

        assert [response.status_code for response in refused] == [409, 409]
        assert {response.json()["code"] for response in refused} == {"last_admin"}
        assert (await login(auth, "admin", "admin123")).json()["user"]["role"] == "ADMIN"

    async def test_disabled_admin_does_not_count_as_an_admin(self, auth: httpx.AsyncClient) -> None:
        other = await create(auth, role="admin")
        await change(auth, other["id"], status="disabled")

        assert (await change(auth, await only_admin(auth), role="user")).status_code == 409

    async def test_last_admin_can_change_its_names(self, auth: httpx.AsyncClient) -> None:
        response = await change(auth, await only_admin(auth), email="chief@example.com", role="admin")

        assert response.status_code == 200

    async def test_admin_can_be_demoted_if_another_admin_exists(self, auth: httpx.AsyncClient) -> None:
        admin_id = await only_admin(auth)
        await create(auth, role="admin")

        assert (await change(auth, admin_id, role="user")).status_code == 200

    async def test_concurrent_removal_of_all_admins_leaves_one(
        self, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        admins = [await only_admin(auth), *[(await create(auth, role="admin"))["id"] for _ in range(9)]]
        going = [
            change(auth, admin_id, role="user")
            if number % 3 == 0
            else change(auth, admin_id, status="disabled")
            if number % 3 == 1
            else auth.delete(f"{ACCOUNTS}/{admin_id}", headers=internal())
            for number, admin_id in enumerate(admins)
        ]
        responses = await asyncio.gather(*going)

        assert sorted(r.status_code for r in responses if r.status_code > 204) == [409]
        left = [
            row for row in rows(database_url, Account) if (row["role"], row["status"]) == ("admin", "active")
        ]
        assert len(left) == 1


class TestDelete:
    async def test_deletion_erases_personal_data_and_keeps_the_id_A10(
        self, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        registered = await register(auth, username="eve", first_name="Evelyn", last_name="Moreau")
        account_id = registered["user"]["id"]
        for _ in range(2):
            response = await auth.delete(f"{ACCOUNTS}/{account_id}", headers=internal())

            assert (response.status_code, response.content) == (204, b"")
        shown = (await auth.get(f"{ACCOUNTS}/{account_id}", headers=internal())).json()
        assert (shown["id"], shown["status"]) == (account_id, "deleted")
        assert [shown[name] for name in ("email", "username", "first_name", "last_name")] == [None] * 4
        stored = str([row for row in rows(database_url, Account) if row["id"] == account_id])
        for trace in ("eve", "Evelyn", "Moreau", registered["user"]["email"], "$2b$"):
            assert trace not in stored
        assert (await login(auth, "eve")).status_code == 401
        assert (await refresh(auth, registered["refresh_token"])).status_code == 401
        assert all(
            row["revoked"] for row in rows(database_url, LoginSession) if row["account_id"] == account_id
        )

    async def test_names_of_a_deleted_account_are_free_again_A10(self, auth: httpx.AsyncClient) -> None:
        for _ in range(2):
            account = await create(auth, **BOB)
            await auth.delete(f"{ACCOUNTS}/{account['id']}", headers=internal())

        assert (await create(auth, **BOB))["status"] == "active"

    async def test_deleted_account_cannot_be_restored(self, auth: httpx.AsyncClient) -> None:
        account = await create(auth)
        await auth.delete(f"{ACCOUNTS}/{account['id']}", headers=internal())

        assert (await change(auth, account["id"], status="active")).status_code == 404
