"""The token endpoint for clients that send JSON."""

from typing import Any

import httpx
import jwt

from tests.auth.oauth.support import REDIRECT, basic, code_for, create_client, signed_in_browser
from tests.auth.oauth.support import VERIFIER as CODE_VERIFIER

MACHINE = {"grant_types": ["client_credentials"], "redirect_uris": [], "scopes": ["orders:read"]}


async def ask(auth: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await auth.post("/oauth2/token", json=body)


def own(client: dict[str, Any]) -> dict[str, Any]:
    return {name: client[name] for name in ("client_id", "client_secret")}


async def test_client_gets_tokens_for_json_as_for_a_form(auth: httpx.AsyncClient) -> None:
    machine = await create_client(auth, **MACHINE)
    by_body = await ask(auth, grant_type="client_credentials", scope="orders:read", **own(machine))
    by_basic = await auth.post(
        "/oauth2/token", json={"grant_type": "client_credentials"}, headers=basic(machine)
    )
    claims = jwt.decode(by_body.json()["access_token"], options={"verify_signature": False})

    assert (by_body.status_code, by_basic.status_code) == (200, 200)
    assert by_body.headers["cache-control"] == "no-store"
    assert {**by_body.json(), "access_token": ""} == {
        "access_token": "",
        "token_type": "Bearer",
        "expires_in": 900,
        "scope": "orders:read",
        "refresh_token": None,
        "id_token": None,
    }
    assert (claims["sub"], claims["client_id"]) == (machine["client_id"], machine["client_id"])


async def test_code_and_refresh_token_are_exchanged_once(auth: httpx.AsyncClient) -> None:
    client = await create_client(auth)
    await signed_in_browser(auth)
    code = await code_for(auth, client, scope="openid offline_access")
    redeeming = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT}
    redeeming |= {"code_verifier": CODE_VERIFIER, **own(client)}
    tokens = (await ask(auth, **redeeming)).json()
    refreshing = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], **own(client)}
    refreshed, again = await ask(auth, **refreshing), await ask(auth, **redeeming)
    refreshing["refresh_token"] = refreshed.json()["refresh_token"]
    ended = await ask(auth, **refreshing)

    assert tokens["id_token"].count(".") == 2
    assert refreshed.status_code == 200
    assert refreshed.json()["refresh_token"] != tokens["refresh_token"]
    assert (again.status_code, again.json()["code"]) == (400, "invalid_grant")
    assert (ended.status_code, ended.json()["code"]) == (400, "invalid_grant")  # the code was used twice


async def test_refusals_are_problems_with_the_code_of_the_rfc(auth: httpx.AsyncClient) -> None:
    machine = await create_client(auth, **MACHINE)
    wrong = await ask(
        auth, grant_type="client_credentials", client_id=machine["client_id"], client_secret="x"
    )
    refused = {
        "unsupported_grant_type": {"grant_type": "password"},
        "unauthorized_client": {"grant_type": "refresh_token", "refresh_token": "x"},
        "invalid_scope": {"grant_type": "client_credentials", "scope": "orders:write"},
    }

    assert (wrong.status_code, wrong.json()["code"]) == (401, "invalid_client")
    assert wrong.headers["www-authenticate"].startswith("Basic ")
    for code, body in refused.items():
        response = await ask(auth, **body, **own(machine))
        assert (response.status_code, response.json()["code"]) == (400, code)
        assert response.headers["content-type"] == "application/problem+json"


async def test_invalid_body_names_the_field(auth: httpx.AsyncClient) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "grant_type": {},
        "scope": {"grant_type": "client_credentials", "scope": "x" * 5000},
        "client_id": {"grant_type": "client_credentials", "client_id": 7},
        "username": {"grant_type": "password", "username": "ann"},
    }
    for field, body in bodies.items():
        response = await ask(auth, **body)
        assert response.status_code == 422
        assert field in {one["field"] for one in response.json()["errors"]}
    assert (await auth.post("/oauth2/token", data={"grant_type": "client_credentials"})).status_code == 415
