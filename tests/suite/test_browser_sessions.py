"""Credentials that the gateway exchanges for tokens: browser session cookies and personal access tokens."""

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from shared.testing import bearer
from tests import stalls
from tests.auth.oauth.support import OURS, sign_in
from tests.auth.support import login, register
from tests.suite.conftest import Suite
from tests.suite.test_revocation import PATIENCE_SECONDS, seconds_until_refused

ORDER = {"product_name": "Pen", "quantity": 1, "total_price": 2.5}
UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}


@pytest.fixture
async def browser(suite: Suite) -> AsyncIterator[httpx.AsyncClient]:
    """A browser in which a new user has just signed in."""
    async with suite.client() as client:
        user = (await register(client))["user"]
        assert (await sign_in(client, user["email"])).status_code == 303
        client.headers["X-Person"] = user["email"]
        yield client


async def test_cookie_gives_the_same_access_as_a_bearer_token(browser: httpx.AsyncClient) -> None:
    me = await browser.get("/auth/me")
    profile = await browser.get("/users/me")

    assert me.json()["email"] == browser.headers["X-Person"]
    assert profile.json()["id"] == me.json()["id"]
    assert (await browser.get("/orders")).status_code == 200
    assert (await browser.get("/clients")).status_code == 403


async def test_cross_site_requests_with_the_cookie_are_refused(
    browser: httpx.AsyncClient, suite: Suite
) -> None:
    for headers in (
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://evil.example"},
        {"Origin": suite.url, "Sec-Fetch-Site": "cross-site"},
    ):
        refused = await browser.post("/orders", json=ORDER, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "cross_site")
    evil = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    socket = await browser.get("/orders", headers=UPGRADE | evil)
    assert (socket.status_code, socket.json()["code"]) == (403, "cross_site")
    assert (await browser.get("/orders", headers=evil)).json() == []
    for headers in (OURS, {"Origin": suite.url}):
        assert (await browser.post("/orders", json=ORDER, headers=headers)).status_code == 201
    assert len((await browser.get("/orders")).json()) == 2


async def test_cookie_is_refused_within_a_second_of_signing_out(
    browser: httpx.AsyncClient, suite: Suite
) -> None:
    cookie = {"Cookie": f"session={browser.cookies['session']}"}
    assert (await browser.get("/orders")).status_code == 200
    assert (await browser.post("/auth/signout", headers=OURS)).status_code == 303
    async with suite.client(headers=cookie) as thief:
        _, seconds = await stalls.timed(_until_over(thief))
        optional = await thief.get("/storage/files")

    assert seconds < 1
    assert optional.status_code == 200  # as an anonymous user


async def _until_over(client: httpx.AsyncClient) -> None:
    began = time.monotonic()
    # The service may hear of the revocation before the gateway.
    while _is_pending(response := await client.get("/orders")):
        assert time.monotonic() - began < PATIENCE_SECONDS
        await asyncio.sleep(0.002)
    assert (response.status_code, response.json()["code"]) == (401, "session_over")


def _is_pending(response: httpx.Response) -> bool:
    return response.status_code == 200 or response.json()["code"] == "invalid_token"


@pytest.mark.parametrize("cookie", ["x", "é", "a=b", "x" * 200, "x" * 5_000, '"', ""])
async def test_cookie_without_a_session_is_refused(suite: Suite, cookie: str) -> None:
    async with suite.client(headers={"Cookie": f"other=1; session={cookie}".encode()}) as client:
        required, optional = await client.get("/orders"), await client.get("/storage/files")

    assert required.status_code == 401
    assert required.json()["code"] == (
        "session_over" if 0 < len(cookie.encode()) <= 200 else "unauthenticated"
    )
    assert optional.status_code == 200


async def test_authorization_header_takes_precedence_over_the_cookie(browser: httpx.AsyncClient) -> None:
    other = (await register(browser))["user"]
    token = (await login(browser, other["email"])).json()["token"]

    assert (await browser.get("/auth/me", headers=bearer(token))).json()["id"] == other["id"]
    assert (await browser.get("/auth/me", headers=bearer("x.y.z"))).status_code == 401
    assert (await browser.post("/orders", json=ORDER, headers=bearer(token))).status_code == 201


async def test_personal_access_token_works_on_every_route_until_it_is_revoked(suite: Suite) -> None:
    async with suite.client() as client:
        registered = await register(client)
        own = bearer(registered["token"])
        body = {"name": "nightly report", "scopes": ["full_access"]}
        key = (await client.post("/auth/me/tokens", json=body, headers=own)).json()
        headers = bearer(key["token"])

        assert (await client.post("/orders", json=ORDER, headers=headers)).status_code == 201
        assert len((await client.get("/orders", headers=own)).json()) == 1
        assert (await client.get("/users/me", headers=headers)).json()["id"] == registered["user"]["id"]
        assert (await client.post("/auth/me/tokens", json=body, headers=headers)).status_code == 403
        path = f"/auth/me/tokens/{key['id']}"
        assert (await client.delete(path, headers=own)).status_code == 204
        assert await seconds_until_refused(client, f"{suite.url}/orders", headers) < 1
        for wrong in ("gatehouse_pat_", key["token"] + "x", "gatehouse_pat_" + "x" * 500):
            response = await client.get("/orders", headers=bearer(wrong))
            assert (response.status_code, response.json()["code"]) == (401, "invalid_token")
