"""Device authorization (RFC 8628): the owner allows a device from another device."""

import asyncio
import re
from datetime import timedelta
from typing import Any

import httpx
import pytest

from services.auth.models import EVENTS, DeviceCode
from services.auth.oauth.device import GRANT
from shared.testing import bearer
from tests.auth.conftest import StoppedClock
from tests.auth.oauth.support import (
    OURS,
    ask_token,
    basic,
    create_client,
    is_active,
    is_refused,
    refresh,
    signed_in_browser,
)
from tests.auth.support import let_time_pass, rows, set_account
from tests.told import records

PAGE = "/oauth/device"


async def device_client(auth: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    given = {"grant_types": [GRANT, "refresh_token"], "redirect_uris": [], "is_public": True} | fields
    return await create_client(auth, **given)


async def begin(auth: httpx.AsyncClient, client: dict[str, Any], **form: str) -> httpx.Response:
    given = {"client_id": client["client_id"], "scope": "openid email"} | form
    return await auth.post("/oauth/device_authorization", data=given)


async def poll(auth: httpx.AsyncClient, client: dict[str, Any], device_code: str) -> httpx.Response:
    return await ask_token(auth, client, grant_type=GRANT, device_code=device_code)


async def answer(auth: httpx.AsyncClient, user_code: str, said: str = "allow") -> httpx.Response:
    return await auth.post(PAGE, data={"user_code": user_code, "answer": said}, headers=OURS)


@pytest.mark.conforms("RFC 8628 3.4")
async def test_device_gets_tokens_once_its_owner_has_allowed_it(
    auth: httpx.AsyncClient, database_url: str
) -> None:
    client, user = await device_client(auth), await signed_in_browser(auth)
    begun = (await begin(auth, client)).json()
    assert begun["verification_uri"] == "http://127.0.0.1:8000/oauth/device"
    assert begun["verification_uri_complete"].endswith(f"?user_code={begun['user_code']}")
    assert (begun["expires_in"], begun["interval"]) == (600, 5)
    assert re.fullmatch(r"[B-Z]{4}-[B-Z]{4}", begun["user_code"])
    assert is_refused(await poll(auth, client, begun["device_code"]), "authorization_pending")
    shown = await auth.get(f"{PAGE}?user_code={begun['user_code']}")
    typed = begun["user_code"].lower().replace("-", " ")
    page = await auth.post(PAGE, data={"user_code": typed}, headers=OURS)
    done = await answer(auth, typed)

    assert begun["user_code"] in shown.text
    assert all(words in page.text for words in ("Connect Ledgerline?", "See your e-mail address"))
    assert "Your device is signed in" in done.text
    tokens = (await poll(auth, client, begun["device_code"])).json()
    assert (tokens["scope"], tokens["token_type"]) == ("email openid", "Bearer")
    info = await auth.get("/oauth/userinfo", headers=bearer(tokens["access_token"]))
    assert info.json()["email"] == user["email"]
    assert (await refresh(auth, client, tokens["refresh_token"])).status_code == 200
    assert is_refused(await poll(auth, client, begun["device_code"]), "invalid_grant")
    record = [one for one in records(database_url, EVENTS) if one["action"] == "ANSWER_DEVICE"][-1]
    assert (record["user_id"], record["metadata"]["outcome"]) == (user["id"], "allow")
    assert begun["device_code"] not in str(rows(database_url, DeviceCode))


async def test_one_of_twenty_concurrent_redemptions_succeeds(auth: httpx.AsyncClient) -> None:
    client = await device_client(auth)
    await signed_in_browser(auth)
    begun = (await begin(auth, client)).json()
    await answer(auth, begun["user_code"])
    responses = await asyncio.gather(*(poll(auth, client, begun["device_code"]) for _ in range(20)))

    assert sorted(one.status_code for one in responses) == [200] + [400] * 19


@pytest.mark.conforms("RFC 8628 3.5")
async def test_each_refusal_has_the_code_of_the_rfc(auth: httpx.AsyncClient, database_url: str) -> None:
    client, other = await device_client(auth), await device_client(auth)
    await signed_in_browser(auth)
    denied, late, early = [(await begin(auth, client)).json() for _ in range(3)]
    assert "Denied" in (await answer(auth, denied["user_code"], "deny")).text

    assert is_refused(await poll(auth, client, denied["device_code"]), "access_denied")
    assert (await answer(auth, denied["user_code"])).status_code == 400
    assert is_refused(await poll(auth, client, early["device_code"]), "authorization_pending")
    slower = await poll(auth, client, early["device_code"])
    assert is_refused(slower, "slow_down")
    assert "10 seconds" in slower.json()["error_description"]
    assert is_refused(await poll(auth, other, early["device_code"]), "invalid_grant")
    assert is_refused(await poll(auth, client, "x"), "invalid_grant")
    assert is_refused(await ask_token(auth, client, grant_type=GRANT), "invalid_request")
    let_time_pass(database_url, DeviceCode, "expires", timedelta(minutes=10, seconds=1))
    assert is_refused(await poll(auth, client, late["device_code"]), "expired_token")
    assert (await answer(auth, late["user_code"])).status_code == 400


async def test_only_clients_with_the_device_grant_can_start(auth: httpx.AsyncClient) -> None:
    web = await create_client(auth)
    secret = await device_client(auth, is_public=False)
    refused = await auth.post("/oauth/device_authorization", data={"scope": "openid"}, headers=basic(web))

    assert is_refused(refused, "unauthorized_client")
    assert is_refused(await begin(auth, secret), "invalid_client", 401)
    assert is_refused(await begin(auth, {"client_id": "unknown"}), "invalid_client", 401)
    client = await device_client(auth)
    assert is_refused(await begin(auth, client, scope="full_access"), "invalid_scope")
    assert is_refused(await begin(auth, client, resource="https://other.example"), "invalid_target")


async def test_page_requires_a_sign_in_and_returns_after_it(auth: httpx.AsyncClient) -> None:
    for response in (await auth.get(f"{PAGE}?user_code=BCDF-GHJK"), await answer(auth, "BCDF-GHJK")):
        assert response.status_code == 303
        assert response.headers["location"] == "/auth/signin?next=%2Foauth%2Fdevice%3Fuser_code%3DBCDF-GHJK"
    page = await auth.get(response.headers["location"])
    assert 'name="next" value="/oauth/device?user_code=BCDF-GHJK"' in page.text


async def test_guesses_at_device_codes_are_throttled(auth: httpx.AsyncClient, clock: StoppedClock) -> None:
    client = await device_client(auth)
    await signed_in_browser(auth)
    begun = (await begin(auth, client)).json()
    found = [(await answer(auth, f"BCDF-GHJ{letter}")).status_code for letter in "BCDFGH"]

    assert found == [400] * 5 + [429]
    assert (await answer(auth, begun["user_code"])).status_code == 429
    clock.advance(3)
    assert (await answer(auth, begun["user_code"])).status_code == 200


async def test_device_codes_are_limited_per_network(auth: httpx.AsyncClient, clock: StoppedClock) -> None:
    client = await device_client(auth)
    found = [(await begin(auth, client)).status_code for _ in range(31)]

    assert found == [200] * 30 + [429]


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "cross-site"}])
async def test_another_site_cannot_allow_a_device(auth: httpx.AsyncClient, headers: dict[str, str]) -> None:
    client = await device_client(auth)
    await signed_in_browser(auth)
    begun = (await begin(auth, client)).json()
    form = {"user_code": begun["user_code"], "answer": "allow"}

    assert (await auth.post(PAGE, data=form, headers=headers)).status_code == 403
    assert is_refused(await poll(auth, client, begun["device_code"]), "authorization_pending")


async def test_device_of_an_account_disabled_meanwhile_gets_no_tokens(
    auth: httpx.AsyncClient, database_url: str
) -> None:
    client = await device_client(auth)
    await signed_in_browser(auth, username="ann")
    begun = (await begin(auth, client)).json()
    await answer(auth, begun["user_code"])
    set_account(database_url, "ann", status="disabled")

    assert is_refused(await poll(auth, client, begun["device_code"]), "invalid_grant")


async def test_connected_device_can_be_disconnected_like_an_app(auth: httpx.AsyncClient) -> None:
    client = await device_client(auth, is_public=False)
    user = await signed_in_browser(auth)
    begun = (
        await auth.post("/oauth/device_authorization", data={"scope": "openid"}, headers=basic(client))
    ).json()
    await answer(auth, begun["user_code"])
    tokens = (await poll(auth, client, begun["device_code"])).json()
    own = await auth.post("/auth/login", json={"email": user["email"], "password": "password123"})
    path = f"/auth/me/apps/{client['id']}"
    assert (await auth.delete(path, headers=bearer(own.json()["token"]))).status_code == 204

    assert not await is_active(auth, client, tokens["access_token"])
