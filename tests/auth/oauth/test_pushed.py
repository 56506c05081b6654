"""Pushed authorization requests (RFC 9126)."""

import asyncio
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx
import pytest

from services.auth.models import PushedRequest
from tests.auth.oauth.support import (
    answer,
    back,
    basic,
    create_client,
    is_refused,
    query_of,
    redeem,
    sign_in,
    signed_in_browser,
)
from tests.auth.support import let_time_pass, register, rows


async def push(auth: httpx.AsyncClient, client: dict[str, Any], **values: str | None) -> httpx.Response:
    form = dict(parse_qsl(query_of(client, **values)))
    return await auth.post("/oauth/par", data=form, headers=basic(client))


async def authorize(auth: httpx.AsyncClient, client: dict[str, Any], uri: str, **more: str) -> httpx.Response:
    query = urlencode({"client_id": client["client_id"], "request_uri": uri, **more})
    return await auth.get(f"/oauth/authorize?{query}")


@pytest.mark.conforms("RFC 9126 4")
async def test_pushed_request_is_authorized_by_its_uri_alone(
    auth: httpx.AsyncClient, database_url: str
) -> None:
    client = await create_client(auth)
    await signed_in_browser(auth)
    pushed = await push(auth, client, scope="openid email")
    uri = pushed.json()["request_uri"]
    (row,) = rows(database_url, PushedRequest)
    consent = await authorize(auth, client, uri, scope="openid profile", state="another")
    brought = back(await answer(auth, consent))

    assert (pushed.status_code, pushed.json()["expires_in"]) == (201, 600)
    assert pushed.headers["cache-control"] == "no-store"
    assert uri.startswith("urn:ietf:params:oauth:request_uri:")
    assert uri not in str(row)
    assert client["client_secret"] not in str(row)
    assert "See your name" not in consent.text
    assert brought["state"] == "some state"
    tokens = await redeem(auth, client, brought["code"])
    assert tokens.json()["scope"] == "email openid"


@pytest.mark.conforms("RFC 9126 2.2")
async def test_request_uri_is_accepted_once_and_expires(auth: httpx.AsyncClient, database_url: str) -> None:
    client = await create_client(auth, is_first_party=True)
    await signed_in_browser(auth)
    uri = (await push(auth, client)).json()["request_uri"]
    responses = await asyncio.gather(*(authorize(auth, client, uri) for _ in range(10)))
    late = (await push(auth, client)).json()["request_uri"]
    let_time_pass(database_url, PushedRequest, "expires", timedelta(minutes=10, seconds=1))

    assert sorted(one.status_code for one in responses) == [303] + [400] * 9
    for used in (uri, late, "urn:ietf:params:oauth:request_uri:x", "https://evil.example/request"):
        refused = await authorize(auth, client, used)
        assert (refused.status_code, "This link does not work" in refused.text) == (400, True)


async def test_request_uri_survives_sign_in(auth: httpx.AsyncClient) -> None:
    client = await create_client(auth, is_first_party=True)
    user = (await register(auth))["user"]
    uri = (await push(auth, client, login_hint="somebody")).json()["request_uri"]
    asked = await authorize(auth, client, uri)
    assert "hint=somebody" in asked.headers["location"]
    after = dict(parse_qsl(asked.headers["location"].partition("?")[2]))["next"]
    signed_in = await sign_in(auth, user["email"], after=after)

    assert "redirect_uri" not in after
    assert signed_in.headers["location"] == after
    assert "code" in back(await auth.get(after))


@pytest.mark.conforms("RFC 9126 2.2")
async def test_request_uri_of_another_client_is_refused(auth: httpx.AsyncClient) -> None:
    client, other = await create_client(auth), await create_client(auth)
    await signed_in_browser(auth)
    uri = (await push(auth, client)).json()["request_uri"]

    assert (await authorize(auth, other, uri)).status_code == 400
    assert (await authorize(auth, client, uri)).status_code == 200


@pytest.mark.conforms("RFC 9126 2.3")
async def test_invalid_request_is_refused_when_pushed(auth: httpx.AsyncClient) -> None:
    client = await create_client(auth)
    cases: list[tuple[dict[str, str | None], str]] = [
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"redirect_uri": "https://evil.example/"}, "invalid_request"),
        ({"redirect_uri": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "full_access"}, "invalid_scope"),
        ({"request_uri": "urn:x"}, "invalid_request"),
        ({"request": "x"}, "request_not_supported"),
    ]
    for values, code in cases:
        assert is_refused(await push(auth, client, **values), code), values
    assert is_refused(await auth.post("/oauth/par", data={"client_id": "x"}), "invalid_client", 401)
    form = dict(parse_qsl(query_of(client)))
    assert is_refused(await auth.post("/oauth/par", data=form), "invalid_client", 401)
    as_json = await auth.post("/oauth/par", json=form, headers=basic(client))
    assert is_refused(as_json, "invalid_request")
