"""What a session may do that was opened without Duo, because Duo could not be reached."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt
import pytest

from services.auth.app import create_app
from services.auth.models import LoginSession
from services.auth.sessions.sessions import INCOMPLETE
from services.auth.settings import Settings
from shared.testing import bearer, running
from tests.auth.browser import field, post
from tests.auth.duo.conftest import configured
from tests.auth.duo.double import FakeDuo
from tests.auth.duo.test_duo import enrolled, prompted
from tests.auth.oauth.support import create_client, sign_in, tokens_for
from tests.auth.oauth.support import refresh as refresh_grant
from tests.auth.providers.support import PAGE
from tests.auth.support import PASSWORD, let_time_pass, refresh, rows

STEP_UP = "/auth/step-up?"


@pytest.fixture
async def auth(make_auth_settings: Callable[..., Settings], duo: FakeDuo) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app, make_auth_settings(**configured(duo), duo_open_roles="user")) as client:
        yield client


@pytest.fixture
async def person(auth: httpx.AsyncClient, duo: FakeDuo) -> dict[str, Any]:
    """An account that uses Duo, in an outage of Duo."""
    user = await enrolled(auth, duo)
    auth.cookies.clear()
    return user


async def signed_in(auth: httpx.AsyncClient, duo: FakeDuo) -> dict[str, Any]:
    """Sign in without Duo; return the response body."""
    duo.raw["health_check"] = 503, b"{}"
    url = urlsplit(await prompted(auth))
    done = await auth.get(f"{url.path}?{url.query}")
    assert done.status_code == 200, done.text
    body: dict[str, Any] = done.json()
    return body


async def browser_signed_in(auth: httpx.AsyncClient, duo: FakeDuo) -> None:
    duo.raw["health_check"] = 503, b"{}"
    page = await sign_in(auth, "robin")
    sent = await post(auth, "/auth/signin/duo", mfa_token=field(page, "mfa_token"))
    url = urlsplit(sent.headers["location"])
    done = await auth.get(f"{url.path}?{url.query}", headers=PAGE)
    assert done.status_code == 303, done.text


def newest(database_url: str) -> dict[str, Any]:
    return max(rows(database_url, LoginSession), key=lambda row: str(row["id"]))


async def test_session_without_duo_changes_nothing_that_protects_the_account(
    auth: httpx.AsyncClient, duo: FakeDuo, person: dict[str, Any]
) -> None:
    headers = bearer((await signed_in(auth, duo))["token"])
    current = {"current_password": PASSWORD}
    changes: list[tuple[str, str, dict[str, Any] | None]] = [
        ("DELETE", "/auth/me/duo", None),
        ("POST", "/auth/me/duo", None),
        ("POST", "/auth/me/passkeys/options", None),
        ("POST", "/auth/me/passkeys", {}),
        ("POST", "/auth/me/totp", current),
        ("POST", "/auth/me/tokens", {"name": "one", "scopes": ["orders:read"]}),
        ("POST", "/auth/me/identities", {"provider": "google"}),
        ("PUT", "/auth/me/password", {**current, "new_password": "another password 7"}),
        ("PUT", "/auth/me/email", {**current, "email": "mallory@example.com"}),
        ("POST", "/auth/me/delete", current),
    ]
    refused = [await auth.request(method, path, json=body, headers=headers) for method, path, body in changes]
    stepped = await auth.post("/auth/me/step-up", json=current, headers=headers)

    assert {(one.status_code, one.json()["code"]) for one in refused} == {
        (401, "insufficient_user_authentication")
    }
    assert (stepped.status_code, stepped.json()["code"]) == (401, "invalid_code")


async def test_second_factor_completes_the_session(
    auth: httpx.AsyncClient, duo: FakeDuo, person: dict[str, Any], database_url: str
) -> None:
    body = await signed_in(auth, duo)
    given = {"current_password": PASSWORD, "code": person["codes"][0]}
    stepped = await auth.post("/auth/me/step-up", json=given, headers=bearer(body["token"]))
    let_time_pass(database_url, LoginSession, "created", 2 * INCOMPLETE)
    longer = await refresh(auth, body["refresh_token"])

    assert stepped.status_code == 200, stepped.text
    assert longer.status_code == 200
    assert newest(database_url)["expires"] - newest(database_url)["created"] > 3 * INCOMPLETE
    removed = await auth.delete("/auth/me/duo", headers=bearer(stepped.json()["token"]))
    assert removed.status_code == 204


async def test_session_without_duo_ends_after_an_hour_and_refreshing_does_not_extend_it(
    auth: httpx.AsyncClient, duo: FakeDuo, person: dict[str, Any], database_url: str
) -> None:
    body = await signed_in(auth, duo)
    before = newest(database_url)
    renewed = await refresh(auth, body["refresh_token"])
    after = newest(database_url)
    claims = jwt.decode(renewed.json()["token"], options={"verify_signature": False})
    let_time_pass(database_url, LoginSession, "expires", INCOMPLETE)

    assert before["expires"] == before["created"] + INCOMPLETE == after["expires"]
    assert (claims["auth_time"], claims["acr"]) == (0, "1")
    assert (await refresh(auth, renewed.json()["refresh_token"])).status_code == 401


async def test_pages_of_a_browser_without_duo_lead_to_the_step_up(
    auth: httpx.AsyncClient, duo: FakeDuo, person: dict[str, Any], database_url: str
) -> None:
    await browser_signed_in(auth, duo)
    before = newest(database_url)
    form = {
        "current_password": PASSWORD,
        "new_password": "another password 7",
        "email": "mallory@example.com",
    }
    sent = [
        await post(auth, path, **form)
        for path in ("/auth/account/duo/remove", "/auth/account/password", "/auth/account/email")
    ]

    assert [one.headers.get("location", "")[: len(STEP_UP)] for one in sent] == [STEP_UP] * 3
    assert before["expires"] == before["created"] + INCOMPLETE
    assert newest(database_url)["expires"] == before["expires"]


async def test_access_of_an_app_authorized_without_duo_ends_after_an_hour(
    auth: httpx.AsyncClient, duo: FakeDuo, person: dict[str, Any], database_url: str
) -> None:
    app = await create_client(auth, scopes=["openid", "offline_access", "orders:read"])
    auth.cookies.clear()
    await browser_signed_in(auth, duo)
    granted = await tokens_for(auth, app, scope="openid offline_access")
    row = newest(database_url)
    renewed = await refresh_grant(auth, app, granted["refresh_token"])

    assert row["client_id"] == app["client_id"]
    assert renewed.status_code == 200, renewed.text
    assert newest(database_url)["expires"] - row["created"] <= INCOMPLETE + timedelta(seconds=1)
