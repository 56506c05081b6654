"""GET /auth/me and PUT /auth/me/password."""

import asyncio
from typing import Any

import httpx
import pytest

from services.auth.credentials.throttle import FREE_FAILURES
from shared.testing import bearer, internal_token
from tests.auth.conftest import StoppedClock
from tests.auth.support import PASSWORD, login, refresh, register

NEW = "a new password"
CHANGE = {"current_password": PASSWORD, "new_password": NEW}


class TestShowMe:
    async def test_current_state_of_the_account_is_shown(self, auth: httpx.AsyncClient) -> None:
        registered = await register(auth, username="ann")
        address = f"/internal/accounts/{registered['user']['id']}"
        await auth.patch(address, json={"username": "anna"}, headers=bearer(internal_token("auth")))
        response = await auth.get("/auth/me", headers=bearer(registered["token"]))

        assert response.status_code == 200
        assert response.json()["username"] == "anna"
        assert response.headers["cache-control"] == "no-store"

    async def test_request_without_token_is_rejected_with_401(self, auth: httpx.AsyncClient) -> None:
        response = await auth.get("/auth/me")

        assert response.status_code == 401
        assert response.json()["code"] == "unauthenticated"

    @pytest.mark.parametrize("change", ["disable", "delete", "promote"])
    async def test_token_does_not_outlive_its_session(self, auth: httpx.AsyncClient, change: str) -> None:
        registered = await register(auth)
        address, internal = f"/internal/accounts/{registered['user']['id']}", bearer(internal_token("auth"))
        if change == "delete":
            await auth.delete(address, headers=internal)
        else:
            changes = {"disable": {"status": "disabled"}, "promote": {"role": "admin"}}[change]
            await auth.patch(address, json=changes, headers=internal)
        response = await auth.get("/auth/me", headers=bearer(registered["token"]))

        assert response.status_code == 401
        assert response.json()["code"] == "invalid_token"

    async def test_each_person_sees_only_their_own_account(self, auth: httpx.AsyncClient) -> None:
        ann, bob = await register(auth), await register(auth)

        for one in (ann, bob):
            response = await auth.get("/auth/me", headers=bearer(one["token"]) | {"X-User-Id": "1"})
            assert response.json()["id"] == one["user"]["id"]


class TestChangePassword:
    async def test_change_ends_the_other_sessions(self, auth: httpx.AsyncClient) -> None:
        here = await register(auth, username="ann")
        there = (await login(auth, "ann")).json()
        response = await auth.put("/auth/me/password", json=CHANGE, headers=bearer(here["token"]))

        assert (response.status_code, response.content) == (204, b"")
        assert (await auth.get("/auth/me", headers=bearer(here["token"]))).status_code == 200
        assert (await refresh(auth, here["refresh_token"])).status_code == 200
        assert (await auth.get("/auth/me", headers=bearer(there["token"]))).status_code == 401
        assert (await refresh(auth, there["refresh_token"])).status_code == 401
        assert (await login(auth, "ann")).status_code == 401
        assert (await login(auth, "ann", NEW)).status_code == 200

    async def test_change_keeps_the_sessions_of_other_accounts(self, auth: httpx.AsyncClient) -> None:
        ann, bob = await register(auth), await register(auth)
        await auth.put("/auth/me/password", json=CHANGE, headers=bearer(ann["token"]))

        assert (await auth.get("/auth/me", headers=bearer(bob["token"]))).status_code == 200

    async def test_request_without_token_is_rejected_with_401(self, auth: httpx.AsyncClient) -> None:
        assert (await auth.put("/auth/me/password", json=CHANGE)).status_code == 401

    async def test_change_after_sign_out_is_rejected_with_401(self, auth: httpx.AsyncClient) -> None:
        registered = await register(auth, username="ann")
        await auth.post("/auth/logout", headers=bearer(registered["token"]))
        response = await auth.put("/auth/me/password", json=CHANGE, headers=bearer(registered["token"]))

        assert response.status_code == 401
        assert (await login(auth, "ann")).status_code == 200

    async def test_wrong_current_password_is_refused_with_403_A6(self, auth: httpx.AsyncClient) -> None:
        registered = await register(auth, username="ann")
        change = CHANGE | {"current_password": "wrong password"}
        response = await auth.put("/auth/me/password", json=change, headers=bearer(registered["token"]))

        assert response.status_code == 403
        assert response.json()["code"] == "wrong_password"
        assert (await login(auth, "ann")).status_code == 200

    async def test_thief_of_a_token_cannot_guess_the_password(
        self, auth: httpx.AsyncClient, clock: StoppedClock
    ) -> None:
        registered = await register(auth, username="ann")
        headers = bearer(registered["token"])
        statuses = [
            (
                await auth.put(
                    "/auth/me/password", json=CHANGE | {"current_password": f"guess {n}"}, headers=headers
                )
            ).status_code
            for n in range(FREE_FAILURES + 1)
        ]

        assert statuses == [403] * FREE_FAILURES + [429]
        assert (await login(auth, "ann")).status_code == 200  # the account can still be used

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"new_password": "1234567"}, "new_password"),
            ({"new_password": "x" * 1025}, "new_password"),
            ({"new_password": "ANN-example@example.com"}, "new_password"),
            ({"new_password": "Ann-Example"}, "new_password"),
            ({"new_password": None}, "new_password"),
            ({"current_password": ""}, "current_password"),
            ({"current_password": "x" * 1025}, "current_password"),
            ({"user_id": "7"}, "user_id"),
        ],
    )
    async def test_malformed_body_is_refused_with_422(
        self, auth: httpx.AsyncClient, changes: dict[str, Any], field: str
    ) -> None:
        registered = await register(auth, username="ann-example", email="ann-example@example.com")
        headers = bearer(registered["token"])
        response = await auth.put("/auth/me/password", json=CHANGE | changes, headers=headers)

        assert response.status_code == 422
        assert [error["field"] for error in response.json()["errors"]] == [field]
        assert (await login(auth, "ann-example")).status_code == 200

    async def test_one_of_several_concurrent_changes_wins(self, auth: httpx.AsyncClient) -> None:
        registered = await register(auth, username="ann")
        bodies = [CHANGE | {"new_password": f"new password {n}"} for n in range(FREE_FAILURES)]
        headers = bearer(registered["token"])
        responses = await asyncio.gather(
            *[auth.put("/auth/me/password", json=body, headers=headers) for body in bodies]
        )

        statuses = [response.status_code for response in responses]
        assert statuses.count(204) >= 1
        assert set(statuses) <= {204, 403}
        signed_in = [(await login(auth, "ann", body["new_password"])).status_code for body in bodies]
        assert signed_in.count(200) == 1
        assert statuses[signed_in.index(200)] == 204
