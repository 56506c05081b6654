"""POST /auth/refresh and POST /auth/logout."""

import asyncio
import base64
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import jwt
import pytest

from services.auth.app import create_app
from services.auth.models import LoginSession
from services.auth.sessions.tokens import RefreshTokens
from services.auth.settings import Settings
from shared.ids import new_id
from shared.testing import bearer, internal_token, running
from tests.auth.support import let_time_pass, refresh, register, rows, set_account

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


class TestRefresh:
    async def test_refresh_returns_a_new_pair_of_tokens(self, auth: httpx.AsyncClient) -> None:
        registered = await register(auth, username="ann")
        response = await refresh(auth, registered["refresh_token"])

        assert response.status_code == 200
        answer = response.json()
        assert answer["user"] == registered["user"]
        assert answer["refresh_token"] != registered["refresh_token"]
        assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 900)
        assert (await auth.get("/auth/me", headers=bearer(answer["token"]))).status_code == 200
        assert _session_of(answer) == _session_of(registered)

    async def test_refresh_can_be_repeated_with_each_new_token(
        self, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        answer = await register(auth)
        seen = set()
        for _ in range(5):
            seen.add(answer["refresh_token"])
            let_time_pass(database_url, LoginSession, "rotated", MINUTE)
            answer = (await refresh(auth, answer["refresh_token"])).json()

        assert answer["refresh_token"] not in seen

    async def test_refresh_returns_the_current_state_of_the_account(self, auth: httpx.AsyncClient) -> None:
        registered = await register(auth)
        address = f"/internal/accounts/{registered['user']['id']}"
        await auth.patch(address, json={"username": "renamed"}, headers=bearer(internal_token("auth")))
        answer = (await refresh(auth, registered["refresh_token"])).json()

        assert answer["user"]["username"] == "renamed"
        claims = jwt.decode(answer["token"], options={"verify_signature": False})
        assert claims["username"] == "renamed"

    async def test_only_hashes_are_stored(self, auth: httpx.AsyncClient, database_url: str) -> None:
        first = (await register(auth))["refresh_token"]
        second = (await refresh(auth, first)).json()["refresh_token"]
        stored = str(rows(database_url, LoginSession))

        for token in (first, second):
            secret = base64.urlsafe_b64decode(token + "==")[16:48]
            assert token not in stored
            assert secret.hex() not in stored

    @pytest.mark.parametrize(
        "token", ["x", "x" * 86, "A" * 86, "ÄÄÄÄ", "a.b.c", "x" * 512, "../../etc/passwd", "=" * 20]
    )
    async def test_unknown_token_is_refused_with_401(self, auth: httpx.AsyncClient, token: str) -> None:
        response = await refresh(auth, token)

        assert response.status_code == 401
        assert response.json()["code"] == "invalid_refresh_token"
        assert "www-authenticate" in response.headers

    @pytest.mark.parametrize(
        "body", [{}, {"refresh_token": ""}, {"refresh_token": "x" * 513}, {"token": "x"}]
    )
    async def test_malformed_body_is_refused_with_422(
        self, auth: httpx.AsyncClient, body: dict[str, Any]
    ) -> None:
        assert (await auth.post("/auth/refresh", json=body)).status_code == 422

    async def test_access_token_is_not_accepted_as_refresh_token(self, auth: httpx.AsyncClient) -> None:
        access = (await register(auth))["token"]
        response = await auth.post("/auth/refresh", json={"refresh_token": access})

        assert response.status_code == 422
        assert access not in response.text

    async def test_forged_token_for_a_known_session_does_not_end_it(self, auth: httpx.AsyncClient) -> None:
        registered = await register(auth)
        raw = bytearray(base64.urlsafe_b64decode(registered["refresh_token"] + "=="))
        raw[20] ^= 1
        forged = base64.urlsafe_b64encode(raw).decode().rstrip("=")

        assert (await refresh(auth, forged)).json()["code"] == "invalid_refresh_token"
        assert (await refresh(auth, registered["refresh_token"])).status_code == 200

    async def test_token_sealed_with_another_secret_is_refused(self, auth: httpx.AsyncClient) -> None:
        registered = await register(auth)
        made = RefreshTokens("another secret").first(_session_of(registered))

        assert (await refresh(auth, RefreshTokens("another secret").write(made))).status_code == 401
        assert (await refresh(auth, registered["refresh_token"])).status_code == 200


class TestReuse:
    async def test_reuse_within_the_grace_period_returns_the_same_successor(
        self, auth: httpx.AsyncClient
    ) -> None:
        first = (await register(auth))["refresh_token"]
        answers = [(await refresh(auth, first)).json()["refresh_token"] for _ in range(3)]

        assert len(set(answers)) == 1
        assert (await refresh(auth, answers[0])).status_code == 200

    async def test_reuse_after_the_grace_period_ends_the_session(
        self, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        registered = await register(auth)
        successor = (await refresh(auth, registered["refresh_token"])).json()
        let_time_pass(database_url, LoginSession, "rotated", timedelta(seconds=11))
        response = await refresh(auth, registered["refresh_token"])

        assert response.status_code == 401
        assert response.json()["code"] == "refresh_token_reused"
        assert (await refresh(auth, successor["refresh_token"])).status_code == 401
        assert (await auth.get("/auth/me", headers=bearer(successor["token"]))).status_code == 401

    async def test_grace_period_covers_only_the_previous_token(self, auth: httpx.AsyncClient) -> None:
        first = (await register(auth))["refresh_token"]
        second = (await refresh(auth, first)).json()["refresh_token"]
        third = (await refresh(auth, second)).json()["refresh_token"]

        assert (await refresh(auth, first)).json()["code"] == "refresh_token_reused"
        assert (await refresh(auth, third)).status_code == 401

    async def test_reuse_ends_only_its_own_session(self, auth: httpx.AsyncClient) -> None:
        await register(auth, username="ann")
        body = {"username": "ann", "password": "password123"}
        one, other = [(await auth.post("/auth/login", json=body)).json()["refresh_token"] for _ in range(2)]
        second = (await refresh(auth, one)).json()["refresh_token"]
        await refresh(auth, second)

        assert (await refresh(auth, one)).json()["code"] == "refresh_token_reused"
        assert (await refresh(auth, other)).status_code == 200

    async def test_fifty_concurrent_refreshes_get_the_same_successor(
        self, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        first = (await register(auth))["refresh_token"]
        responses = await asyncio.gather(*[refresh(auth, first) for _ in range(50)])

        assert {response.status_code for response in responses} == {200}
        successors = {response.json()["refresh_token"] for response in responses}
        assert len(successors) == 1
        assert (await refresh(auth, successors.pop())).status_code == 200

    async def test_one_of_fifty_concurrent_refreshes_wins_without_a_grace_period(
        self, make_auth_settings: Callable[..., Settings]
    ) -> None:
        async with running(create_app, make_auth_settings(refresh_grace_seconds=0)) as auth:
            first = (await register(auth))["refresh_token"]
            responses = await asyncio.gather(*[refresh(auth, first) for _ in range(50)])

        assert sorted(response.status_code for response in responses) == [200] + [401] * 49

    async def test_replicas_return_the_same_successor(
        self, make_auth_settings: Callable[..., Settings]
    ) -> None:
        async with (
            running(create_app, make_auth_settings()) as one,
            running(create_app, make_auth_settings()) as other,
        ):
            first = (await register(one))["refresh_token"]
            responses = await asyncio.gather(*[refresh(auth, first) for auth in [one, other] * 10])

        assert len({response.json()["refresh_token"] for response in responses}) == 1


class TestLifetime:
    @pytest.mark.parametrize(("passed", "status"), [(timedelta(days=13), 200), (timedelta(days=15), 401)])
    async def test_unused_session_ends_after_two_weeks(
        self, auth: httpx.AsyncClient, database_url: str, passed: timedelta, status: int
    ) -> None:
        registered = await register(auth)
        for column in ("expires", "created"):
            let_time_pass(database_url, LoginSession, column, passed)

        assert (await refresh(auth, registered["refresh_token"])).status_code == status
        assert (await auth.get("/auth/me", headers=bearer(registered["token"]))).status_code == status

    async def test_used_session_ends_after_ninety_days(
        self, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        answer = await register(auth)
        days = 0
        while days < 100:
            response = await refresh(auth, answer["refresh_token"])
            if response.status_code != 200:
                break
            answer = response.json()
            for column in ("expires", "created", "rotated"):
                let_time_pass(database_url, LoginSession, column, 10 * DAY)
            days += 10

        assert days == 90
        assert response.json()["code"] == "invalid_refresh_token"

    @pytest.mark.parametrize("change", ["disable", "delete"])
    async def test_refresh_of_a_disabled_or_deleted_account_is_refused(
        self, auth: httpx.AsyncClient, change: str
    ) -> None:
        registered = await register(auth)
        address, internal = f"/internal/accounts/{registered['user']['id']}", bearer(internal_token("auth"))
        if change == "disable":
            await auth.patch(address, json={"status": "disabled"}, headers=internal)
        else:
            await auth.delete(address, headers=internal)

        assert (await refresh(auth, registered["refresh_token"])).status_code == 401

    async def test_refresh_ends_the_session_of_an_account_disabled_in_the_database(
        self, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        registered = await register(auth, username="ann")
        set_account(database_url, "ann", status="disabled")

        assert (await refresh(auth, registered["refresh_token"])).status_code == 401
        set_account(database_url, "ann", status="active")
        assert (await refresh(auth, registered["refresh_token"])).status_code == 401  # the session has ended


class TestLogout:
    async def test_refresh_token_signs_out(self, auth: httpx.AsyncClient) -> None:
        registered = await register(auth)
        body = {"refresh_token": registered["refresh_token"]}
        for _ in range(2):
            response = await auth.post("/auth/logout", json=body)

            assert (response.status_code, response.content) == (204, b"")
        await _assert_signed_out(auth, registered)

    async def test_bearer_token_signs_out(self, auth: httpx.AsyncClient) -> None:
        registered = await register(auth)
        for _ in range(2):
            response = await auth.post("/auth/logout", headers=bearer(registered["token"]))

            assert response.status_code == 204
        await _assert_signed_out(auth, registered)

    async def test_bearer_token_with_an_empty_body_signs_out(self, auth: httpx.AsyncClient) -> None:
        registered = await register(auth)
        response = await auth.post("/auth/logout", json={}, headers=bearer(registered["token"]))

        assert response.status_code == 204
        await _assert_signed_out(auth, registered)

    async def test_refresh_token_signs_out_despite_an_invalid_bearer_token(
        self, auth: httpx.AsyncClient
    ) -> None:
        registered = await register(auth)
        body = {"refresh_token": registered["refresh_token"]}
        response = await auth.post("/auth/logout", json=body, headers=bearer("an.expired.token"))

        assert response.status_code == 204
        await _assert_signed_out(auth, registered)

    async def test_old_refresh_token_signs_out_as_well(self, auth: httpx.AsyncClient) -> None:
        registered = await register(auth)
        successor = (await refresh(auth, registered["refresh_token"])).json()
        await auth.post("/auth/logout", json={"refresh_token": registered["refresh_token"]})

        await _assert_signed_out(auth, successor)

    async def test_logout_keeps_the_other_sessions(self, auth: httpx.AsyncClient) -> None:
        first = await register(auth, username="ann")
        body = {"username": "ann", "password": "password123"}
        second = (await auth.post("/auth/login", json=body)).json()
        await auth.post("/auth/logout", headers=bearer(first["token"]))

        assert (await auth.get("/auth/me", headers=bearer(second["token"]))).status_code == 200

    async def test_unknown_refresh_token_counts_as_signed_out(self, auth: httpx.AsyncClient) -> None:
        response = await auth.post("/auth/logout", json={"refresh_token": new_id()})

        assert response.status_code == 204

    async def test_request_without_token_is_rejected_with_401(self, auth: httpx.AsyncClient) -> None:
        response = await auth.post("/auth/logout")

        assert response.status_code == 401
        assert response.json()["code"] == "unauthenticated"

    @pytest.mark.parametrize(
        ("content", "status"),
        [('{"refresh_token": 1}', 422), ('{"everywhere": true}', 422), ("{", 400), ('"x"', 422)],
    )
    async def test_malformed_body_is_refused(
        self, auth: httpx.AsyncClient, content: str, status: int
    ) -> None:
        json = {"Content-Type": "application/json"}
        response = await auth.post("/auth/logout", content=content, headers=json)

        assert response.status_code == status


def _session_of(answer: dict[str, Any]) -> str:
    session_id: str = jwt.decode(answer["token"], options={"verify_signature": False})["sid"]
    return session_id


async def _assert_signed_out(auth: httpx.AsyncClient, answer: dict[str, Any]) -> None:
    assert (await auth.get("/auth/me", headers=bearer(answer["token"]))).status_code == 401
    assert (await refresh(auth, answer["refresh_token"])).status_code == 401
