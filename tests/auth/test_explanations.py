"""What auth says about credentials when an operator asks why one is refused."""

from datetime import timedelta
from typing import Any

import httpx
import jwt
import pytest

from services.auth.models import EVENTS, AccessKey, LoginSession
from shared.testing import bearer, internal_token
from tests.auth.oauth.support import sign_in
from tests.auth.support import PASSWORD, a_name, let_time_pass, refresh, register, rows
from tests.told import records

SERVICE = bearer(internal_token("auth", issuer="gateway"))
ADDRESS = "/internal/credentials/explain"


async def explain(auth: httpx.AsyncClient, credential: str) -> dict[str, Any]:
    response = await auth.post(ADDRESS, json={"credential": credential}, headers=SERVICE)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def refused(auth: httpx.AsyncClient, credential: str) -> list[str]:
    return [one["words"] for one in (await explain(auth, credential))["facts"] if one["is_refused"]]


async def test_only_services_may_ask(auth: httpx.AsyncClient) -> None:
    token = (await register(auth))["token"]
    for headers in ({}, bearer(token)):
        response = await auth.post(ADDRESS, json={"credential": token}, headers=headers)
        assert response.status_code == 401


@pytest.mark.parametrize("credential", ["", "x" * 8193, 7, None])
async def test_malformed_credentials_are_refused(auth: httpx.AsyncClient, credential: object) -> None:
    response = await auth.post(ADDRESS, json={"credential": credential}, headers=SERVICE)

    assert response.status_code == 422


@pytest.mark.parametrize(
    "credential", ["x", "a.b.c", "W10.W10.x", "gatehouse_pat_x", "e30.e30.x", "\u0000", "x" * 86]
)
async def test_unknown_credentials_are_explained_too(auth: httpx.AsyncClient, credential: str) -> None:
    assert await refused(auth, credential) != []


async def test_access_token_of_a_person(auth: httpx.AsyncClient) -> None:
    name = a_name()
    person = await register(auth, username=name)
    explained = await explain(auth, person["token"])

    assert explained["kind"] == "token"
    assert [one for one in explained["facts"] if one["is_refused"]] == []
    said = {one["name"]: one["words"] for one in explained["facts"]}
    assert said["account"] == f"{name}, role user, active"
    assert "the one that signs" in said["key"]
    await auth.post("/auth/logout", headers=bearer(person["token"]))
    assert "it was ended at" in (await refused(auth, person["token"]))[0]


async def test_access_token_of_an_account_that_was_changed(auth: httpx.AsyncClient) -> None:
    person = await register(auth)
    change = {"status": "suspended"}
    await auth.patch(f"/internal/accounts/{person['user']['id']}", json=change, headers=SERVICE)
    words = " ".join(await refused(auth, person["token"]))

    assert "suspended" in words
    assert "all tokens of the account have been revoked since" in words


async def test_access_token_of_another_suite(auth: httpx.AsyncClient) -> None:
    claims = {"sub": "0198c0de-4b20-7c31-9000-a7d8e9f01234", "sid": 7, "ver": "x", "jti": [], "client_id": {}}
    token = jwt.encode(claims, "x" * 32, algorithm="HS256", headers={"kid": "theirs"})
    words = " ".join(await refused(auth, token))

    assert "auth has never had the key" in words
    assert "there is no account" in words


async def test_refresh_token_at_each_place_in_its_chain(auth: httpx.AsyncClient, database_url: str) -> None:
    first = (await register(auth, username="ann"))["refresh_token"]
    assert await refused(auth, first) == []
    second = (await refresh(auth, first)).json()["refresh_token"]
    assert "within the grace" in str((await explain(auth, first))["facts"])
    let_time_pass(database_url, LoginSession, "rotated", timedelta(seconds=11))
    assert "using it again ends the session" in (await refused(auth, first))[0]
    third = (await refresh(auth, second)).json()["refresh_token"]
    assert "it was exchanged already, and so was its successor" in (await refused(auth, first))[0]

    assert await refused(auth, third) == []  # and looking has used none of them
    assert (await explain(auth, third))["kind"] == "refresh token"
    assert (await refresh(auth, third)).status_code == 200
    let_time_pass(database_url, LoginSession, "expires", timedelta(days=15))
    assert "it expired at" in (await refused(auth, third))[0]


async def test_personal_access_token(auth: httpx.AsyncClient, database_url: str) -> None:
    person = await register(auth)
    own = bearer(person["token"])
    body = {"name": "nightly", "scopes": ["orders:read"]}
    key = (await auth.post("/auth/me/tokens", json=body, headers=own)).json()
    explained = await explain(auth, key["token"])

    assert (explained["kind"], explained["role"]) == ("personal access token", "user")
    assert explained["scopes"] == ["orders:read"]
    assert [one for one in explained["facts"] if one["is_refused"]] == []
    assert await refused(auth, key["token"][:-1] + "*") == ["it is malformed or cut short"]
    other = key["token"][:-1] + ("A" if key["token"][-1] != "A" else "B")
    assert await refused(auth, other) == ["its secret is wrong"]
    assert rows(database_url, AccessKey)[0]["used"] is None  # looking is not using
    await auth.delete(f"/auth/me/tokens/{key['id']}", headers=own)
    assert await refused(auth, key["token"]) == ["it was revoked or never existed"]


async def test_session_cookie(auth: httpx.AsyncClient) -> None:
    await register(auth, username="ann")
    assert (await sign_in(auth, "ann", PASSWORD)).status_code == 303
    cookie = auth.cookies["session"]
    explained = await explain(auth, cookie)

    assert (explained["kind"], explained["role"], explained["scopes"]) == ("session cookie", "user", None)
    assert [one for one in explained["facts"] if one["is_refused"]] == []
    await auth.post("/auth/signout", headers={"Sec-Fetch-Site": "same-origin"})
    assert "it was ended at" in (await refused(auth, cookie))[0]


async def test_asking_is_in_the_audit_log_without_the_credential(
    auth: httpx.AsyncClient, database_url: str
) -> None:
    person = await register(auth)
    await explain(auth, person["refresh_token"])
    record = records(database_url, EVENTS)[-1]

    assert (record["action"], record["actor"]) == ("EXPLAIN_CREDENTIAL", "service:gateway")
    assert record["resource"] == person["user"]["id"]
    assert person["refresh_token"] not in str(record)
