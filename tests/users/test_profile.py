"""Reading and changing one profile: your own, or as an admin anybody's."""

import asyncio
from typing import Any

import httpx
import pytest

from shared.ids import new_id
from shared.testing import bearer, token
from tests.users.support import NOWHERE, StartUsers, fields_of, new_email, register, register_admin, tag

# Constant, because parallel workers must collect tests with the same names.
UNKNOWN_ID = "01890a5d-ac96-774b-bcce-b302099a8057"


class TestShowMe:
    async def test_profile_is_shown_right_after_registration(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        email, username = new_email(), tag()
        ada = await register(auth, email=email, username=username, first_name="Ada", last_name="Lovelace")
        response = await users.get("/users/me", headers=ada.headers)

        assert response.status_code == 200
        assert response.headers["etag"] == '"1"'
        shown = response.json()
        assert shown == {
            "id": ada.id,
            "email": email,
            "username": username,
            "first_name": "Ada",
            "last_name": "Lovelace",
            "phone": None,
            "bio": None,
            "avatar_url": None,
            "role": "user",
            "status": "active",
            "created": ada.account["created"],
            "updated": shown["updated"],
            "version": 1,
        }

    async def test_fifty_parallel_first_reads_create_one_profile(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada, admin = await register(auth), await register_admin(auth)
        responses = await asyncio.gather(*[users.get("/users/me", headers=ada.headers) for _ in range(50)])

        assert {response.status_code for response in responses} == {200}
        assert len({response.text for response in responses}) == 1
        found = await users.get("/users", params={"q": ada.account["email"]}, headers=admin.headers)
        assert [profile["id"] for profile in found.json()] == [ada.id]

    async def test_request_without_token_is_rejected_with_401(self, users: httpx.AsyncClient) -> None:
        response = await users.get("/users/me", headers={"X-User-Id": new_id(), "X-Role": "admin"})

        assert response.status_code == 401

    @pytest.mark.parametrize("subject", [UNKNOWN_ID, "client_of-a-machine", "../accounts", "a?b=c"])
    async def test_token_without_an_account_is_404(self, users: httpx.AsyncClient, subject: str) -> None:
        response = await users.get("/users/me", headers=bearer(token(subject)))

        assert response.status_code == 404

    async def test_profile_is_updated_after_a_newer_token(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada, email = await register(auth), new_email()
        await users.get("/users/me", headers=ada.headers)
        await auth.patch(f"/internal/accounts/{ada.id}", json={"email": email})
        newer = token(ada.id, email=email, username=None, ver=1_000_000)  # the change revokes older tokens
        response = await users.get("/users/me", headers=bearer(newer))

        assert response.json()["email"] == email
        assert response.headers["etag"] == '"2"'

    async def test_older_token_changes_nothing(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada = await register(auth)
        await users.get("/users/me", headers=ada.headers)
        old = bearer(token(ada.id, email=new_email(), role="admin"))
        response = await users.get("/users/me", headers=old)

        assert response.json()["email"] == ada.account["email"]
        assert response.json()["role"] == "user"
        assert response.headers["etag"] == '"1"'

    async def test_known_profile_is_shown_while_auth_is_down(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, start_users: StartUsers
    ) -> None:
        known, unknown = await register(auth), await register(auth)
        before = await users.get("/users/me", headers=known.headers)
        async with start_users(NOWHERE) as alone:
            shown = await alone.get("/users/me", headers=known.headers)
            disagreeing = await alone.get("/users/me", headers=bearer(token(known.id)))
            refused = await alone.get("/users/me", headers=unknown.headers)

        assert shown.text == disagreeing.text == before.text
        assert refused.status_code == 503
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["code"] == "unavailable"


class TestShowUser:
    async def test_profile_is_shown_to_its_owner_and_to_admins(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada, admin = await register(auth), await register_admin(auth)
        by_admin = await users.get(ada.address, headers=admin.headers)
        by_herself = await users.get(ada.address, headers=ada.headers)

        assert by_admin.status_code == 200  # although it was never read before
        assert by_admin.json()["email"] == ada.account["email"]
        assert by_herself.text == by_admin.text

    async def test_resource_of_another_account_is_404(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada, other = await register(auth), await register(auth)
        await users.get("/users/me", headers=ada.headers)
        forged = {"X-User-Id": ada.id, "X-Role": "admin", "X-User-Role": "admin"}
        response = await users.get(ada.address, headers=other.headers | forged)

        assert response.status_code == 404
        assert response.json()["code"] == "not_found"

    async def test_unknown_id_is_404(self, users: httpx.AsyncClient, auth: httpx.AsyncClient) -> None:
        admin = await register_admin(auth)
        response = await users.get(f"/users/{new_id()}", headers=admin.headers)

        assert response.status_code == 404

    async def test_request_without_token_is_rejected_with_401(self, users: httpx.AsyncClient) -> None:
        assert (await users.get(f"/users/{new_id()}")).status_code == 401

    @pytest.mark.parametrize("user_id", ["7", "me2", "%00", UNKNOWN_ID + "0"])
    async def test_malformed_id_is_rejected_with_422(self, users: httpx.AsyncClient, user_id: str) -> None:
        response = await users.get(f"/users/{user_id}", headers=bearer(token(role="admin")))

        assert response.status_code == 422
        assert fields_of(response) == ["user_id"]

    async def test_unknown_profile_is_503_while_auth_is_down(self, start_users: StartUsers) -> None:
        async with start_users(NOWHERE) as alone:
            response = await alone.get(f"/users/{new_id()}", headers=bearer(token(role="admin")))

        assert response.status_code == 503


class TestChangeProfile:
    async def test_only_the_given_fields_are_changed(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada = await register(auth, first_name="Ada", last_name="Byron")
        changes = {
            "last_name": "Lovelace",
            "phone": "+44 20 7946 0018",
            "bio": "Wrote the first program.",
            "avatar_url": "https://example.com/ada.png",
        }
        response = await users.put("/users/me", json=changes, headers=ada.headers)

        assert response.status_code == 200
        assert response.headers["etag"] == '"2"'
        assert response.json().items() >= {"first_name": "Ada", **changes}.items()
        assert (await users.get(ada.address, headers=ada.headers)).text == response.text

    async def test_null_clears_a_field(self, users: httpx.AsyncClient, auth: httpx.AsyncClient) -> None:
        ada = await register(auth, first_name="Ada")
        response = await users.put(ada.address, json={"first_name": None}, headers=ada.headers)

        assert response.json()["first_name"] is None

    async def test_change_without_effect_keeps_the_version(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada = await register(auth, first_name="Ada")
        response = await users.put("/users/me", json={"first_name": "Ada"}, headers=ada.headers)

        assert response.headers["etag"] == '"1"'

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"email": "eve@example.com"}, "email"),
            ({"username": "eve"}, "username"),
            ({"role": "admin"}, "role"),
            ({"status": "disabled"}, "status"),
            ({"status": "active", "bio": "x"}, "status"),
        ],
    )
    @pytest.mark.parametrize("by_id", [True, False])
    async def test_fields_for_admins_are_rejected_with_422(
        self,
        users: httpx.AsyncClient,
        auth: httpx.AsyncClient,
        changes: dict[str, Any],
        field: str,
        by_id: bool,
    ) -> None:
        ada = await register(auth)
        address = ada.address if by_id else "/users/me"
        response = await users.put(address, json=changes, headers=ada.headers | {"X-Role": "admin"})

        assert response.status_code == 422
        assert response.json()["errors"] == [
            {"field": field, "code": "admin_only", "message": "Only an admin may change this."}
        ]
        shown = (await users.get("/users/me", headers=ada.headers)).json()
        assert shown["version"] == 1

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({}, "body"),
            ({"first_name": ""}, "first_name"),
            ({"first_name": " \n"}, "first_name"),
            ({"first_name": "a\x00b"}, "first_name"),
            ({"first_name": "x" * 101}, "first_name"),
            ({"last_name": 7}, "last_name"),
            ({"last_name": ["x"]}, "last_name"),
            ({"phone": "call me"}, "phone"),
            ({"phone": "+" + "1" * 40}, "phone"),
            ({"bio": "x" * 1001}, "bio"),
            ({"bio": "\x00"}, "bio"),
            ({"avatar_url": "javascript:alert(1)"}, "avatar_url"),
            ({"avatar_url": "https://"}, "avatar_url"),
            ({"avatar_url": "https://[x"}, "avatar_url"),
            ({"avatar_url": "https://example.com/" + "x" * 2048}, "avatar_url"),
            ({"id": new_id()}, "id"),
            ({"user_id": new_id()}, "user_id"),
            ({"version": 9}, "version"),
            ({"created": "2020-01-01T00:00:00Z"}, "created"),
            ({"search": "x"}, "search"),
            ({"account_updated": "2020-01-01T00:00:00Z"}, "account_updated"),
            ({"password": "x"}, "password"),
            ({"role": "root"}, "role"),
            ({"role": None}, "role"),
            ({"status": "deleted"}, "status"),
            ({"email": None}, "email"),
            ({"email": "x" * 255}, "email"),
        ],
    )
    async def test_malformed_input_is_rejected_with_422(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, changes: dict[str, Any], field: str
    ) -> None:
        admin = await register_admin(auth)
        response = await users.put("/users/me", json=changes, headers=admin.headers)

        assert response.status_code == 422, response.text
        assert fields_of(response) == [field]

    @pytest.mark.parametrize("method", ["PUT", "DELETE"])
    async def test_request_without_token_is_rejected_with_401(
        self, users: httpx.AsyncClient, method: str
    ) -> None:
        body = {"bio": "x"} if method == "PUT" else None
        for address in ("/users/me", f"/users/{new_id()}"):
            assert (await users.request(method, address, json=body)).status_code == 401

    @pytest.mark.parametrize("method", ["PUT", "DELETE"])
    async def test_resource_of_another_account_is_404(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, method: str
    ) -> None:
        ada, other = await register(auth), await register(auth)
        before = await users.get("/users/me", headers=ada.headers)
        body = {"bio": "x"} if method == "PUT" else None
        forged = {"X-User-Id": ada.id, "X-Role": "admin"}
        response = await users.request(method, ada.address, json=body, headers=other.headers | forged)

        assert response.status_code == 404
        assert (await users.get("/users/me", headers=ada.headers)).text == before.text

    @pytest.mark.parametrize("method", ["PUT", "DELETE"])
    async def test_unknown_id_is_404(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, method: str
    ) -> None:
        admin = await register_admin(auth)
        body = {"bio": "x"} if method == "PUT" else None
        response = await users.request(method, f"/users/{new_id()}", json=body, headers=admin.headers)

        assert response.status_code == 404

    async def test_of_twenty_parallel_changes_from_one_version_one_wins(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada = await register(auth)
        await users.get("/users/me", headers=ada.headers)
        conditional = ada.headers | {"If-Match": '"1"'}
        responses = await asyncio.gather(
            *[users.put("/users/me", json={"bio": str(n)}, headers=conditional) for n in range(20)]
        )

        assert sorted(response.status_code for response in responses) == [200] + [412] * 19
