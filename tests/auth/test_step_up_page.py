"""The step-up page, on which users confirm their identity again."""

from typing import Any

import httpx
import jwt
import pyotp
import pytest

from services.auth.factors import totp
from services.auth.models import EVENTS
from shared.testing import bearer, internal_token
from tests.auth.authenticator import Authenticator
from tests.auth.browser import ACCOUNT, add_passkey, exchanged, field, post, shown
from tests.auth.conftest import StoppedClock
from tests.auth.oauth.support import authorize, back, create_client, signed_in_browser
from tests.auth.support import PASSWORD, register
from tests.auth.test_factor_pages import APP, secret_of
from tests.auth.test_factors import Clock
from tests.told import records

PATH = "/auth/step-up"


async def test_password_renews_the_session_and_its_cookie_B1(
    auth: httpx.AsyncClient, clock: StoppedClock, database_url: str
) -> None:
    internal = bearer(internal_token("auth"))
    assert (await auth.get(PATH)).headers["location"] == "/auth/signin?next=%2Fauth%2Faccount"
    user = await signed_in_browser(auth)
    before = auth.cookies["session"]
    claims = _claims(await exchanged(auth, internal))
    page = await auth.get(f"{PATH}?next=/auth/account/tokens")
    wrong = await post(auth, PATH, current_password="wrong", next=field(page, "next"))
    empty = await post(auth, PATH)
    foreign = await auth.post(PATH, data={"current_password": PASSWORD})
    done = await post(auth, PATH, current_password=PASSWORD, next=field(page, "next"))
    renewed = _claims(await exchanged(auth, internal))

    assert ("Use a passkey" in page.text, user["email"] in page.text) == (False, True)
    assert [one.status_code for one in (wrong, empty, foreign)] == [403, 422, 403]
    assert done.headers["location"] == f"{ACCOUNT}/tokens"
    assert renewed["sid"] == claims["sid"]
    assert renewed["auth_time"] >= claims["auth_time"]
    old = await auth.post("/internal/exchange", json={"credential": before}, headers=internal)
    assert (auth.cookies["session"] != before, old.status_code) == (True, 404)
    record = [one for one in records(database_url, EVENTS) if one["action"] == "CONFIRM_IDENTITY"][-1]
    assert (record["user_id"], record["metadata"], record["outcome"]) == (
        user["id"],
        {"amr": "pwd"},
        "success",
    )


@pytest.mark.parametrize("after", ["https://evil.example", "//evil.example", "/auth/signout", "/x", ""])
async def test_step_up_redirects_to_no_other_path(auth: httpx.AsyncClient, after: str) -> None:
    await signed_in_browser(auth)
    done = await post(auth, PATH, current_password=PASSWORD, next=after)

    assert done.headers["location"] == ACCOUNT


async def test_second_factor_is_required_if_enrolled(
    auth: httpx.AsyncClient, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = Clock()
    monkeypatch.setattr(totp, "time", codes)
    await signed_in_browser(auth)
    app = pyotp.TOTP(secret_of(await post(auth, APP, current_password=PASSWORD)))
    await post(auth, f"{APP}/confirm", code=app.at(int(codes.now)))
    await add_passkey(auth, device := Authenticator())
    form = {"current_password": PASSWORD, "code": app.at(int(codes.now) + 30)}
    page = await auth.get(PATH)
    without = await post(auth, PATH, current_password=PASSWORD)
    codes.now += 30
    internal = bearer(internal_token("auth"))

    assert ('name="code"' in page.text, "Use a passkey" in page.text) == (True, True)
    assert (without.status_code, "The code is wrong" in without.text) == (401, True)
    assert (await post(auth, PATH, **form)).status_code == 303
    assert _claims(await exchanged(auth, internal))["amr"] == ["pwd", "otp"]
    assert (await post(auth, PATH, **form)).status_code == 401  # the code was used
    assert (await post(auth, PATH, credential=await shown(auth, device))).status_code == 303
    assert _claims(await exchanged(auth, internal))["amr"] == ["hwk"]
    await register(auth)
    await post(auth, "/auth/signout")
    await signed_in_browser(auth)
    assert (await post(auth, PATH, credential=await shown(auth, device))).status_code == 401


@pytest.mark.conforms("OIDC Core 3.1.2.1", "oidcc-ensure-request-with-acr-values-succeeds")
async def test_acr_values_require_a_second_factor_once(
    auth: httpx.AsyncClient, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await create_client(auth, is_first_party=True)
    await signed_in_browser(auth)
    wants = {"acr_values": "2"}
    refused = back(await authorize(auth, client, **wants))
    await add_passkey(auth, device := Authenticator())
    silent = back(await authorize(auth, client, prompt="none", **wants))
    asked = await authorize(auth, client, **wants)
    page = await auth.get(asked.headers["location"])

    assert refused["error"] == "unmet_authentication_requirements"
    assert silent["error"] == "login_required"
    assert asked.headers["location"].startswith("/auth/step-up?")
    assert ("with two factors" in page.text, "Use a passkey" in page.text) == (True, True)
    for weaker in ("1", "1 2", "2 1", "urn:other"):
        assert "code" in back(await authorize(auth, client, acr_values=weaker))
    done = await post(auth, PATH, next=field(page, "next"), factors="2", credential=await shown(auth, device))
    assert "code" in back(await auth.get(done.headers["location"]))
    assert "code" in back(await authorize(auth, client, **wants))


@pytest.mark.conforms("OIDC Core 3.1.2.1", "oidcc-max-age-1")
async def test_max_age_requires_a_signed_in_user_to_step_up_once(auth: httpx.AsyncClient) -> None:
    client = await create_client(auth, is_first_party=True)
    await signed_in_browser(auth)
    asked = await authorize(auth, client, max_age="0")
    page = await auth.get(asked.headers["location"])
    after = field(page, "next")

    assert (await auth.get(after)).headers["location"].startswith("/auth/step-up?")
    done = await post(auth, PATH, next=after, current_password=PASSWORD)
    assert "code" in back(await auth.get(done.headers["location"]))
    assert (await authorize(auth, client, max_age="0")).headers["location"].startswith("/auth/step-up?")
    assert "code" in back(await authorize(auth, client, max_age="10000"))


def _claims(headers: dict[str, str]) -> dict[str, Any]:
    token = headers["Authorization"].removeprefix("Bearer ")
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims
