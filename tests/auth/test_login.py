"""POST /auth/login."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import bcrypt
import httpx
import jwt
import pytest

from services.auth.app import create_app
from services.auth.credentials.throttle import BLOCK_SECONDS_MAX
from services.auth.models import Account, LoginSession
from services.auth.sessions.sessions import SESSIONS_PER_ACCOUNT_MAX
from services.auth.settings import Settings
from shared.testing import bearer, internal_token, running
from tests.auth.conftest import StoppedClock
from tests.auth.support import PASSWORD, let_time_pass, login, register, rows, set_account
from tests.auth.timing import compared


class TestLogin:
    async def test_either_name_signs_in(self, auth: httpx.AsyncClient) -> None:
        user = (await register(auth, email="ann@example.com", username="Ann"))["user"]
        for name in ("ann@example.com", "ANN@EXAMPLE.COM", "ann", "ANN"):
            response = await login(auth, name)

            assert response.status_code == 200
            role = "user" if "@" in name else "USER"
            assert response.json()["user"] == {**user, "role": role}

    async def test_email_address_is_accepted_as_username(self, auth: httpx.AsyncClient) -> None:
        await register(auth, email="ann@example.com")
        body = {"username": "ann@example.com", "password": PASSWORD}

        assert (await auth.post("/auth/login", json=body)).status_code == 200

    async def test_access_token_has_the_claims_of_the_account(self, auth: httpx.AsyncClient) -> None:
        user = (await register(auth, username="ann"))["user"]
        token = (await login(auth, "ann")).json()["token"]
        claims = jwt.decode(token, options={"verify_signature": False})

        assert claims["sub"] == claims["user_id"] == user["id"]
        assert (claims["username"], claims["email"], claims["role"]) == ("ann", user["email"], "user")
        assert claims["iss"] == claims["aud"] == "gatehouse"
        assert claims["exp"] - claims["iat"] == 900
        assert {"jti", "sid"} < claims.keys()
        assert "scope" not in claims, "only the role limits a person who signed in"
        header = jwt.get_unverified_header(token)
        assert (header["alg"], header["typ"]) == ("RS256", "at+jwt")

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"password": PASSWORD}, "body"),
            ({"email": "ann@example.com", "username": "ann", "password": PASSWORD}, "body"),
            ({"email": "ann@example.com"}, "password"),
            ({"email": "ann@example.com", "password": ""}, "password"),
            ({"email": "ann@example.com", "password": "x" * 1025}, "password"),
            ({"email": "x" * 255, "password": PASSWORD}, "email"),
            ({"username": ["ann"], "password": PASSWORD}, "username"),
            ({"username": "ann", "password": PASSWORD, "grant": "all"}, "grant"),
        ],
    )
    async def test_malformed_body_is_refused_with_422(
        self, auth: httpx.AsyncClient, body: dict[str, Any], field: str
    ) -> None:
        response = await auth.post("/auth/login", json=body)

        assert response.status_code == 422
        assert [error["field"] for error in response.json()["errors"]] == [field]

    async def test_every_failed_sign_in_gets_the_same_refusal_A1(self, auth: httpx.AsyncClient) -> None:
        await register(auth, username="ann")
        disabled = (await register(auth, username="bob"))["user"]
        await _change(auth, disabled["id"], {"status": "disabled"})
        deleted = (await register(auth, username="eve"))["user"]
        await auth.delete(f"/internal/accounts/{deleted['id']}", headers=bearer(internal_token("auth")))
        refused = [
            await login(auth, "ann", "wrong password"),
            await login(auth, "bob"),
            await login(auth, "eve"),
            await login(auth, "nobody"),
            await login(auth, "nobody@example.com"),
            await login(auth, "no such name ' OR 1=1"),
        ]
        bodies = [{**response.json(), "request_id": None} for response in refused]

        assert {response.status_code for response in refused} == {401}
        assert all(body == bodies[0] for body in bodies)
        assert bodies[0]["code"] == "invalid_credentials"
        headers = [{**response.headers, "x-request-id": "", "server-timing": ""} for response in refused]
        assert all(one == headers[0] for one in headers)
        assert headers[0]["www-authenticate"] == "Bearer"

    @pytest.mark.parametrize("meanwhile", [{"status": "disabled"}, {"password_hash": "another"}])
    async def test_account_changed_during_the_password_check_is_refused(
        self,
        auth: httpx.AsyncClient,
        database_url: str,
        monkeypatch: pytest.MonkeyPatch,
        meanwhile: dict[str, str],
    ) -> None:
        await register(auth, username="ann")
        before = len(rows(database_url, LoginSession))
        real = bcrypt.checkpw

        def check_and_change(password: bytes, password_hash: bytes) -> bool:
            set_account(database_url, "ann", **meanwhile)
            return real(password, password_hash)

        monkeypatch.setattr("bcrypt.checkpw", check_and_change)
        response = await login(auth, "ann")

        assert response.status_code == 401
        assert response.json()["code"] == "invalid_credentials"
        assert len(rows(database_url, LoginSession)) == before

    async def test_oldest_sessions_beyond_the_maximum_are_deleted(
        self, auth: httpx.AsyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("services.auth.sessions.sessions.SESSIONS_PER_ACCOUNT_MAX", 3)
        first = await register(auth, username="ann")
        for _ in range(3):
            last = (await login(auth, "ann")).json()

        assert SESSIONS_PER_ACCOUNT_MAX == 100
        assert len(rows(database_url, LoginSession)) == 3
        assert (await auth.get("/auth/me", headers=bearer(first["token"]))).status_code == 401
        assert (await auth.get("/auth/me", headers=bearer(last["token"]))).status_code == 200

    async def test_expired_sessions_are_deleted(self, auth: httpx.AsyncClient, database_url: str) -> None:
        await register(auth, username="ann")
        let_time_pass(database_url, LoginSession, "expires", timedelta(days=91))
        await login(auth, "ann")

        assert len(rows(database_url, LoginSession)) == 1


class TestEqualWork:
    """The time of a sign-in does not reveal whether the name or the password is wrong."""

    @pytest.fixture
    def checks(self, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
        checked: list[bytes] = []
        real = bcrypt.checkpw

        def counting(password: bytes, password_hash: bytes) -> bool:
            checked.append(password_hash)
            return real(password, password_hash)

        monkeypatch.setattr("bcrypt.checkpw", counting)
        return checked

    async def test_every_sign_in_runs_one_bcrypt_check_A1(
        self, auth: httpx.AsyncClient, checks: list[bytes]
    ) -> None:
        await register(auth, username="ann")
        disabled = (await register(auth, username="bob"))["user"]
        await _change(auth, disabled["id"], {"status": "disabled"})
        for name, password in [
            ("ann", PASSWORD),
            ("ann", "wrong password"),
            ("bob", PASSWORD),
            ("bob", "wrong password"),
            ("nobody", PASSWORD),
            ("nobody", "x" * 1000),
        ]:
            checks.clear()
            await login(auth, name, password)

            assert len(checks) == 1, (name, password)
            assert checks[0].startswith(b"$2b$04$")

    @pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
    @pytest.mark.parametrize(("names", "differs"), [(("ann", "nobody"), False), (("ann", "eve"), True)])
    async def test_known_and_unknown_names_take_the_same_time_A1(
        self,
        make_auth_settings: Callable[..., Settings],
        database_url: str,
        clock: StoppedClock,
        names: tuple[str, str],
        differs: bool,
    ) -> None:
        """The check of eve's hash takes half the time, which the comparison must notice."""
        async with running(create_app, make_auth_settings(bcrypt_cost=8)) as auth:
            for name in ("ann", "eve"):
                await register(auth, username=name)
            cheaper = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(7)).decode()
            set_account(database_url, "eve", password_hash=cheaper)

            async def fail_as(name: str) -> None:
                clock.advance(BLOCK_SECONDS_MAX)
                assert (await login(auth, name, "wrong password")).status_code == 401

            gaps = await compared(partial(fail_as, names[0]), partial(fail_as, names[1]), pairs=60)

        assert any(gap.is_beyond(0.05) for gap in gaps) is differs, gaps


class TestCost:
    async def test_password_is_rehashed_at_sign_in_if_the_cost_has_changed(
        self, make_auth_settings: Callable[..., Settings], database_url: str
    ) -> None:
        async with running(create_app, make_auth_settings(bcrypt_cost=5)) as auth:
            await register(auth, username="ann")
        async with running(create_app, make_auth_settings(bcrypt_cost=6)) as auth:
            assert (await login(auth, "ann", "wrong password")).status_code == 401
            assert _hash_of(database_url, "ann").startswith("$2b$05$")
            assert (await login(auth, "ann")).status_code == 200
            assert _hash_of(database_url, "ann").startswith("$2b$06$")
            assert (await login(auth, "ann")).status_code == 200

    @pytest.mark.parametrize("prefix", ["$2a$", "$2y$"])
    async def test_hashes_from_other_programs_are_accepted(
        self, auth: httpx.AsyncClient, database_url: str, prefix: str
    ) -> None:
        await register(auth, username="ann")
        foreign = prefix + bcrypt.hashpw("pässword".encode(), bcrypt.gensalt(5)).decode()[4:]
        set_account(database_url, "ann", password_hash=foreign)

        assert (await login(auth, "ann", "pässword")).status_code == 200
        assert _hash_of(database_url, "ann").startswith("$2b$04$")

    async def test_unusable_hash_matches_no_password(
        self, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        await register(auth, username="ann")
        set_account(database_url, "ann", password_hash="!locked")

        assert (await login(auth, "ann")).status_code == 401


async def _change(auth: httpx.AsyncClient, account_id: str, changes: dict[str, Any]) -> None:
    headers = bearer(internal_token("auth"))
    response = await auth.patch(f"/internal/accounts/{account_id}", json=changes, headers=headers)
    assert response.status_code == 200, response.text


def _hash_of(database_url: str, username: str) -> str:
    account = next(row for row in rows(database_url, Account) if row["username"] == username)
    password_hash: str = account["password_hash"]
    return password_hash
