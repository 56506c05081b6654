"""Admins create accounts and change fields of the account."""

import asyncio
from typing import Any

import httpx
import pytest

from shared.testing import bearer
from tests.users.support import (
    NOWHERE,
    PASSWORD,
    Person,
    StartUsers,
    fields_of,
    new_email,
    register,
    register_admin,
    tag,
)


class TestCreateUser:
    async def test_account_and_profile_are_created(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        admin, email, username = await register_admin(auth), new_email(), tag()
        body = {
            "email": email.upper(),
            "password": PASSWORD,
            "username": username,
            "role": "admin",
            "first_name": "Ada",
            "last_name": "Lovelace",
            "phone": "+44 20 7946 0018",
        }
        response = await users.post("/users", json=body, headers=admin.headers)

        assert response.status_code == 201
        made = response.json()
        assert response.headers["location"] == f"/users/{made['id']}"
        assert made.items() >= (body | {"email": email, "status": "active"}).items() - {
            ("password", PASSWORD)
        }
        assert PASSWORD not in response.text
        account = (await auth.get(f"/internal/accounts/{made['id']}")).json()
        assert (account["email"], account["role"]) == (email, "admin")
        assert (await users.get(f"/users/{made['id']}", headers=admin.headers)).text == response.text

    async def test_created_user_chooses_a_password_and_reads_the_profile(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        admin, email = await register_admin(auth), new_email()
        made = await users.post("/users", json={"email": email, "password": PASSWORD}, headers=admin.headers)
        body = {"email": email, "password": PASSWORD, "new_password": PASSWORD * 2}
        login = await auth.post("/auth/login", json=body, headers={})
        access_token = login.json().get("access_token") or login.json()["token"]
        shown = await users.get("/users/me", headers=bearer(access_token))

        assert shown.status_code == 200
        assert shown.text == made.text

    async def test_request_without_token_is_rejected_with_401(self, users: httpx.AsyncClient) -> None:
        response = await users.post("/users", json={"email": new_email(), "password": PASSWORD})

        assert response.status_code == 401

    async def test_caller_who_is_not_an_admin_is_rejected_with_403(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada = await register(auth)
        forged = {"X-Role": "admin", "X-User-Role": "admin"}
        body = {"email": new_email(), "password": PASSWORD}
        response = await users.post("/users", json=body, headers=ada.headers | forged)

        assert response.status_code == 403
        assert response.json()["code"] == "forbidden"

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"email": None}, "email"),
            ({"email": "a\x00@example.com"}, "email"),
            ({"email": "x" * 255}, "email"),
            ({"email": "nobody"}, "email"),  # refused by auth
            ({"password": ""}, "password"),
            ({"password": "short"}, "password"),  # refused by auth
            ({"password": "x" * 1025}, "password"),
            ({"password": 12345678}, "password"),
            ({"username": "a@b"}, "username"),  # refused by auth
            ({"username": "x" * 33}, "username"),
            ({"role": "root"}, "role"),
            ({"first_name": "a\x00"}, "first_name"),
            ({"last_name": "x" * 101}, "last_name"),
            ({"phone": "none"}, "phone"),
            ({"status": "disabled"}, "status"),
            ({"id": "7"}, "id"),
            ({"is_admin": True}, "is_admin"),
        ],
    )
    async def test_malformed_input_is_rejected_with_422(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, changes: dict[str, Any], field: str
    ) -> None:
        admin = await register_admin(auth)
        body = {"email": new_email(), "password": PASSWORD} | changes
        response = await users.post("/users", json=body, headers=admin.headers)

        assert response.status_code == 422, response.text
        assert field in fields_of(response)

    @pytest.mark.parametrize(("name", "code"), [("email", "email_taken"), ("username", "username_taken")])
    async def test_name_that_is_taken_is_rejected_with_409(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, name: str, code: str
    ) -> None:
        admin, ada = await register_admin(auth), await register(auth, username=tag())
        body = {"email": new_email(), "password": PASSWORD, name: ada.account[name].upper()}
        response = await users.post("/users", json=body, headers=admin.headers)

        assert response.status_code == 409
        assert response.json()["code"] == code

    async def test_of_ten_parallel_requests_with_one_email_one_succeeds(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        admin, body = await register_admin(auth), {"email": new_email(), "password": PASSWORD}
        responses = await asyncio.gather(
            *[users.post("/users", json=body, headers=admin.headers) for _ in range(10)]
        )

        assert sorted(response.status_code for response in responses) == [201] + [409] * 9

    async def test_creation_is_503_while_auth_is_down(
        self, auth: httpx.AsyncClient, start_users: StartUsers
    ) -> None:
        admin, body = await register_admin(auth), {"email": new_email(), "password": PASSWORD}
        async with start_users(NOWHERE) as alone:
            response = await alone.post("/users", json=body, headers=admin.headers)

        assert response.status_code == 503
        assert response.json()["code"] == "unavailable"


@pytest.mark.parametrize("seconds_ago", [16 * 60, None])
class TestRecentSignIn:
    """A stolen session or personal access token of an admin must not take over accounts."""

    async def test_creation_without_a_recent_sign_in_is_refused_with_401(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, seconds_ago: int | None
    ) -> None:
        admin = await register_admin(auth)
        body = {"email": new_email(), "password": PASSWORD}
        refused = await users.post("/users", json=body, headers=admin.signed_in(seconds_ago))

        assert_sign_in_is_demanded(refused)
        assert (await users.post("/users", json=body, headers=admin.headers)).status_code == 201

    @pytest.mark.parametrize("name", ["role", "status", "email", "username"])
    async def test_change_of_an_account_without_a_recent_sign_in_is_refused_with_401(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, seconds_ago: int | None, name: str
    ) -> None:
        admin, ada = await register_admin(auth), await register(auth)
        new = {"role": "admin", "status": "disabled", "email": new_email(), "username": tag()}[name]
        old = admin.signed_in(seconds_ago)
        for address, person in ((ada.address, ada), ("/users/me", admin)):
            refused = await users.put(address, json={name: new, "bio": "x"}, headers=old)

            assert_sign_in_is_demanded(refused)
            account = (await auth.get(f"/internal/accounts/{person.id}")).json()
            assert account[name] == person.account[name]
        assert (await users.put(ada.address, json={"bio": "x"}, headers=old)).status_code == 200

    async def test_deletion_without_a_recent_sign_in_is_refused_with_401(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, seconds_ago: int | None
    ) -> None:
        admin, ada = await register_admin(auth), await register(auth)
        old, own = admin.signed_in(seconds_ago), ada.signed_in(seconds_ago)
        for address, headers in ((ada.address, old), (ada.address, own), ("/users/me", own)):
            assert_sign_in_is_demanded(await users.delete(address, headers=headers))
        assert (await auth.get(f"/internal/accounts/{ada.id}")).json()["status"] == "active"


def assert_sign_in_is_demanded(response: httpx.Response) -> None:
    assert (response.status_code, response.json()["code"]) == (401, "insufficient_user_authentication")


class TestChangeAccount:
    async def test_account_and_profile_are_changed(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        admin, ada = await register_admin(auth), await register(auth)
        email, username = new_email(), tag()
        changes = {"email": email, "username": username, "role": "admin", "bio": "Countess"}
        response = await users.put(ada.address, json=changes, headers=admin.headers)

        assert response.status_code == 200
        assert response.json().items() >= changes.items()
        account = (await auth.get(f"/internal/accounts/{ada.id}")).json()
        assert (account["email"], account["username"], account["role"]) == (email, username, "admin")

    async def test_account_is_disabled_and_enabled(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        admin, ada = await register_admin(auth), await register(auth)
        for status in ("disabled", "active"):
            response = await users.put(ada.address, json={"status": status}, headers=admin.headers)

            assert response.json()["status"] == status
            assert (await auth.get(f"/internal/accounts/{ada.id}")).json()["status"] == status

    async def test_taken_email_changes_nothing(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        admin, ada, other = await register_admin(auth), await register(auth), await register(auth)
        changes = {"email": other.account["email"], "bio": "x"}
        response = await users.put(ada.address, json=changes, headers=admin.headers)

        assert response.status_code == 409
        assert response.json()["code"] == "email_taken"
        shown = (await users.get(ada.address, headers=admin.headers)).json()
        assert (shown["email"], shown["bio"]) == (ada.account["email"], None)

    async def test_refusal_of_auth_names_the_field(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        admin, ada = await register_admin(auth), await register(auth)
        response = await users.put(ada.address, json={"email": "nobody"}, headers=admin.headers)

        assert response.status_code == 422
        assert fields_of(response) == ["email"]

    @pytest.mark.parametrize(
        ("method", "changes"), [("PUT", {"role": "user"}), ("PUT", {"status": "disabled"}), ("DELETE", None)]
    )
    async def test_last_admin_cannot_be_removed(
        self,
        start_users: StartUsers,
        empty_auth_url: str,
        empty_auth: httpx.AsyncClient,
        method: str,
        changes: dict[str, str] | None,
    ) -> None:
        credentials = {"email": "admin@example.com", "password": "admin123"}
        admin = Person((await empty_auth.post("/auth/login", json=credentials)).json()["user"])
        async with start_users(empty_auth_url) as users:
            response = await users.request(method, admin.address, json=changes, headers=admin.headers)
            shown = await users.get("/users/me", headers=admin.headers)

        assert response.status_code == 409
        assert response.json()["code"] == "last_admin"
        assert shown.json().items() >= {"role": "admin", "status": "active"}.items()

    async def test_of_ten_parallel_changes_from_one_version_one_reaches_auth(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        admin, ada = await register_admin(auth), await register(auth)
        emails = [new_email() for _ in range(10)]
        etag = (await users.get(ada.address, headers=admin.headers)).headers["etag"]
        conditional = admin.headers | {"If-Match": etag}
        responses = await asyncio.gather(
            *[users.put(ada.address, json={"email": email}, headers=conditional) for email in emails]
        )

        assert sorted(response.status_code for response in responses) == [200] + [412] * 9
        [won] = [response.json()["email"] for response in responses if response.status_code == 200]
        assert (await auth.get(f"/internal/accounts/{ada.id}")).json()["email"] == won

    async def test_only_profile_fields_can_be_changed_while_auth_is_down(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, start_users: StartUsers
    ) -> None:
        admin, ada = await register_admin(auth), await register(auth)
        await users.get(ada.address, headers=admin.headers)
        async with start_users(NOWHERE) as alone:
            refused = await alone.put(ada.address, json={"role": "admin", "bio": "x"}, headers=admin.headers)
            done = await alone.put(ada.address, json={"first_name": "Ada"}, headers=admin.headers)

        assert refused.status_code == 503
        assert done.status_code == 200
        assert done.json().items() >= {"role": "user", "bio": None, "first_name": "Ada"}.items()
