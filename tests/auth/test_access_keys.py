"""Personal access tokens (/auth/me/tokens) and their exchange for access tokens."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest

from services.auth.access_keys import access_keys
from services.auth.models import IDEMPOTENCY, AccessKey
from shared.testing import bearer, internal_token
from tests.auth.oauth.support import admin_token, create_client, signed_in_browser, tokens_for
from tests.auth.support import PASSWORD, let_time_pass, register, rows

BODY = {"name": "nightly report", "scopes": ["full_access"]}


async def create(auth: httpx.AsyncClient, headers: dict[str, str], **fields: Any) -> dict[str, Any]:
    response = await auth.post("/auth/me/tokens", json=BODY | fields, headers=headers)
    assert response.status_code == 201, response.text
    key: dict[str, Any] = response.json()
    return key


async def exchange(auth: httpx.AsyncClient, credential: str) -> httpx.Response:
    headers = bearer(internal_token("auth"))
    return await auth.post("/internal/exchange", json={"credential": credential}, headers=headers)


async def somebody(auth: httpx.AsyncClient) -> tuple[str, dict[str, str]]:
    registered = await register(auth)
    return registered["user"]["id"], bearer(registered["token"])


async def test_token_is_shown_once_and_stored_as_a_hash(auth: httpx.AsyncClient, database_url: str) -> None:
    _, headers = await somebody(auth)
    key = await create(auth, headers)
    (listed,) = (await auth.get("/auth/me/tokens", headers=headers)).json()

    assert re.fullmatch(r"gatehouse_pat_[0-9a-f]{32}_[\w-]{43}", key["token"])
    assert listed == {name: value for name, value in key.items() if name != "token"}
    assert key["token"][-43:] not in str(rows(database_url, AccessKey))


async def test_token_is_exchanged_for_an_access_token_with_its_scopes(auth: httpx.AsyncClient) -> None:
    user_id, headers = await somebody(auth)
    key = await create(auth, headers)
    response = await exchange(auth, key["token"])
    claims = jwt.decode(response.json()["token"], options={"verify_signature": False})
    (listed,) = (await auth.get("/auth/me/tokens", headers=headers)).json()

    assert (claims["sub"], claims["scope"], claims["sid"]) == (user_id, "full_access", key["id"])
    assert claims["client_id"] == f"pat_{key['id']}"
    assert claims["exp"] - claims["iat"] == response.json()["expires_in"] == 900
    assert listed["used"] is not None


async def test_expired_token_is_refused(auth: httpx.AsyncClient, database_url: str) -> None:
    _, headers = await somebody(auth)
    key = await create(auth, headers, expires=(datetime.now(UTC) + timedelta(seconds=100)).isoformat())
    soon = (await exchange(auth, key["token"])).json()
    let_time_pass(database_url, AccessKey, "expires", timedelta(seconds=101))

    assert 0 < soon["expires_in"] <= 100
    assert (await exchange(auth, key["token"])).status_code == 404


@pytest.mark.parametrize(
    ("scopes", "statuses"),
    [
        (["orders:read"], (403, 403)),
        (["account:read", "orders:read"], (200, 403)),
        (["read"], (200, 403)),
        (["full_access"], (200, 403)),
    ],
)
async def test_token_grants_what_its_scopes_name(
    auth: httpx.AsyncClient, scopes: list[str], statuses: tuple[int, int]
) -> None:
    user_id, headers = await somebody(auth)
    key = await create(auth, headers, scopes=scopes)
    held = bearer((await exchange(auth, key["token"])).json()["token"])
    shown = await auth.get("/auth/me", headers=held)
    password = {"current_password": PASSWORD, "new_password": "another long secret"}
    changed = await auth.put("/auth/me/password", json=password, headers=held)

    assert key["scopes"] == sorted(scopes)
    assert (shown.status_code, changed.status_code) == statuses
    assert shown.json().get("id") == (user_id if shown.status_code == 200 else None)
    assert changed.json()["code"] == "not_interactive"
    assert (await auth.delete(f"/auth/me/tokens/{key['id']}", headers=headers)).status_code == 204
    assert shown.status_code == 403 or (await auth.get("/auth/me", headers=held)).status_code == 401


async def test_admin_needs_the_scope_of_clients_to_manage_them_with_a_token(auth: httpx.AsyncClient) -> None:
    for headers, expected in (
        (bearer(await admin_token(auth)), [403, 200, 200]),
        ((await somebody(auth))[1], [403, 403, 403]),
    ):
        statuses = []
        for scopes in (["read", "write"], ["admin:clients"], ["full_access"]):
            key = await create(auth, headers, scopes=scopes)
            held = bearer((await exchange(auth, key["token"])).json()["token"])
            statuses.append((await auth.get("/clients", headers=held)).status_code)
        assert statuses == expected


@pytest.mark.parametrize(
    "wrong",
    [
        "gatehouse_pat_",
        "gatehouse_pat_x",
        "gatehouse_pat_" + "0" * 32 + "_" + "x" * 43,
        "gatehouse_pat_" + "é" * 32 + "_" + "x" * 43,
        "x",
    ],
)
async def test_unknown_token_is_refused(auth: httpx.AsyncClient, wrong: str) -> None:
    assert (await exchange(auth, wrong)).status_code == 404


async def test_token_with_a_changed_secret_is_refused(auth: httpx.AsyncClient) -> None:
    _, headers = await somebody(auth)
    token = (await create(auth, headers))["token"]
    other = (await create(auth, headers))["token"]

    assert (await exchange(auth, token[:-43] + other[-43:])).status_code == 404
    assert (await exchange(auth, token + "x")).status_code == 404
    assert (await exchange(auth, token)).status_code == 200


async def test_only_the_owner_can_revoke_a_token_and_a_revoked_one_is_refused(
    auth: httpx.AsyncClient,
) -> None:
    _, headers = await somebody(auth)
    _, stranger = await somebody(auth)
    key = await create(auth, headers)
    path = f"/auth/me/tokens/{key['id']}"

    assert (await auth.delete(path)).status_code == 401
    assert (await auth.delete(path, headers=stranger)).status_code == 404
    assert (await exchange(auth, key["token"])).status_code == 200
    assert (await auth.delete(path, headers=headers)).status_code == 204
    assert (await exchange(auth, key["token"])).status_code == 404
    assert (await auth.delete(path, headers=headers)).status_code == 404
    assert (await auth.delete("/auth/me/tokens/x", headers=headers)).status_code == 422


@pytest.mark.parametrize("how", ["disabled", "deleted"])
async def test_token_of_a_disabled_or_deleted_account_is_refused(
    auth: httpx.AsyncClient, database_url: str, how: str
) -> None:
    user_id, headers = await somebody(auth)
    key = await create(auth, headers)
    internal = bearer(internal_token("auth"))
    if how == "disabled":
        await auth.patch(f"/internal/accounts/{user_id}", json={"status": "disabled"}, headers=internal)
    else:
        await auth.delete(f"/internal/accounts/{user_id}", headers=internal)
        assert rows(database_url, AccessKey) == []

    assert (await exchange(auth, key["token"])).status_code == 404


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["openid"]}, "scopes"),
        ({"scopes": ["everything"]}, "scopes"),
        ({"expires": "2001-01-01T00:00:00Z"}, "expires"),
        ({"expires": "2099-01-01T00:00:00"}, "expires"),
        ({"expires": "soon"}, "expires"),
        ({"role": "admin"}, "role"),
    ],
)
async def test_malformed_body_is_refused_with_422(
    auth: httpx.AsyncClient, fields: dict[str, Any], field: str
) -> None:
    _, headers = await somebody(auth)
    response = await auth.post("/auth/me/tokens", json=BODY | fields, headers=headers)

    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [field]


async def test_programs_cannot_create_tokens(auth: httpx.AsyncClient) -> None:
    client = await create_client(auth, scopes=["full_access"])
    await signed_in_browser(auth)
    by_client = bearer((await tokens_for(auth, client, scope="full_access"))["access_token"])
    _, headers = await somebody(auth)
    by_key = bearer((await exchange(auth, (await create(auth, headers))["token"])).json()["token"])

    for held in (by_client, by_key):
        response = await auth.post("/auth/me/tokens", json=BODY, headers=held)
        assert (response.status_code, response.json()["code"]) == (403, "not_interactive")
        assert (await auth.get("/auth/me/tokens", headers=held)).status_code == 403
    assert (await auth.post("/auth/me/tokens", json=BODY)).status_code == 401


async def test_repeated_request_creates_one_token(auth: httpx.AsyncClient, database_url: str) -> None:
    _, headers = await somebody(auth)
    _, others = await somebody(auth)

    async def send(by: dict[str, str], body: dict[str, Any]) -> httpx.Response:
        return await auth.post("/auth/me/tokens", json=body, headers=by | {"Idempotency-Key": "one"})

    first, second = await asyncio.gather(send(headers, BODY), send(headers, BODY))
    lost = await send(headers, BODY)
    changed, other = await send(headers, BODY | {"name": "another"}), await send(others, BODY)
    kept = str(rows(database_url, IDEMPOTENCY.table))

    assert [one.status_code for one in (first, second, lost)] == [201, 201, 201]
    assert first.json() == second.json() == lost.json()
    assert lost.headers["idempotency-replayed"] == "true"
    assert (await exchange(auth, lost.json()["token"])).status_code == 200
    assert len((await auth.get("/auth/me/tokens", headers=headers)).json()) == 1
    assert (changed.status_code, changed.json()["code"]) == (422, "idempotency_key_reused")
    assert other.json()["id"] != lost.json()["id"]
    assert lost.json()["id"] not in kept, "what is kept is sealed"
    assert "s1." in kept


async def test_account_has_a_maximum_number_of_tokens(
    auth: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_keys, "KEYS_PER_ACCOUNT_MAX", 2)
    _, headers = await somebody(auth)
    made = await asyncio.gather(*(auth.post("/auth/me/tokens", json=BODY, headers=headers) for _ in range(5)))

    assert sorted(one.status_code for one in made) == [201, 201, 409, 409, 409]
