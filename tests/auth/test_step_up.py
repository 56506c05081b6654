"""Step-up: sensitive operations require a recent sign-in, or one with two factors."""

import time
from types import SimpleNamespace
from typing import Any

import httpx
import jwt
import pytest

from services.auth.models import EVENTS
from shared.caller import Caller
from shared.errors import SignInAgain
from shared.identity import step_up
from shared.identity.step_up import StepUp
from shared.testing import bearer
from tests.auth.conftest import StoppedClock
from tests.auth.oauth.support import admin_token, create_client, signed_in_browser, tokens_for
from tests.auth.support import PASSWORD, login, refresh, register
from tests.auth.test_factors import Clock, enrolled, mfa_token, verify
from tests.told import records

PATH = "/auth/me/step-up"
WHY = {"reason": "other"}


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Advance the clock of the check for a recent sign-in."""
    moment = time.time() + seconds
    monkeypatch.setattr(step_up, "time", SimpleNamespace(time=lambda: moment))


def a_caller(**claims: Any) -> Caller:
    return Caller("id", "user", None, None, "session", frozenset(), 0.0, claims=claims)


@pytest.mark.parametrize(
    ("claims", "wanted", "challenge"),
    [
        ({"auth_time": 0, "acr": "1"}, StepUp(max_age=60), None),
        ({"auth_time": -100, "acr": "1"}, StepUp(max_age=60), 'max_age="60"'),
        ({"auth_time": -80, "acr": "1"}, StepUp(max_age=60), None),  # clocks that differ
        ({"auth_time": 0, "acr": "1"}, StepUp(factors=2), 'max_age="300", acr_values="2"'),
        ({"auth_time": 0, "acr": "2"}, StepUp(factors=2), None),
        ({}, StepUp(), 'max_age="300", acr_values="1"'),
        ({"auth_time": "0", "acr": "1"}, StepUp(), 'max_age="300"'),
        ({"auth_time": True, "acr": "1"}, StepUp(), 'max_age="300"'),
        ({"auth_time": 0, "acr": "3"}, StepUp(), 'max_age="300", acr_values="1"'),
    ],
)
@pytest.mark.conforms("RFC 9470 3")
def test_sign_in_that_is_too_old_or_too_weak_is_challenged(
    claims: dict[str, Any], wanted: StepUp, challenge: str | None
) -> None:
    moment = claims.get("auth_time")
    if type(moment) is int:
        claims = claims | {"auth_time": int(time.time()) + moment}
    if challenge is None:
        wanted.require(a_caller(**claims))
        return
    with pytest.raises(SignInAgain) as refused:
        wanted.require(a_caller(**claims))

    error = 'Bearer error="insufficient_user_authentication"'
    assert refused.value.headers["WWW-Authenticate"] == f"{error}, {challenge}"
    assert refused.value.status == 401


async def test_tokens_state_the_time_and_factors_of_the_sign_in(
    auth: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("services.auth.factors.totp.time", clock)
    person = await enrolled(auth, clock)
    plain = await register(auth)
    strong = (await verify(auth, await mfa_token(auth, person), person.next_code())).json()
    again = (await refresh(auth, strong["refresh_token"])).json()
    first, second, third = (claims_of(one["token"]) for one in (plain, strong, again))

    assert (first["acr"], first["amr"]) == ("1", ["pwd"])
    assert (second["acr"], second["amr"]) == ("2", ["pwd", "otp"])
    assert (third["acr"], third["auth_time"]) == ("2", second["auth_time"])
    assert abs(first["auth_time"] - time.time()) < 60


async def test_tokens_of_clients_state_the_time_and_factors_too(auth: httpx.AsyncClient) -> None:
    client = await create_client(auth)
    await signed_in_browser(auth)
    tokens = await tokens_for(auth, client)
    access, identity = claims_of(tokens["access_token"]), claims_of(tokens["id_token"])

    assert (access["acr"], identity["acr"]) == ("1", "1")
    assert access["auth_time"] == identity["auth_time"]


async def test_admin_with_an_old_sign_in_must_step_up_to_change_an_account(
    auth: httpx.AsyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers, ann = bearer(await admin_token(auth)), (await register(auth))["user"]
    path = f"/auth/accounts/{ann['id']}"
    later(monkeypatch, 16 * 60)
    for method, place, body in (
        ("PATCH", path, WHY | {"status": "suspended"}),
        ("POST", f"{path}/sign-out", WHY),
        ("POST", f"{path}/reset-factors", WHY),
    ):
        refused = await auth.request(method, place, json=body, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (401, "insufficient_user_authentication")
        assert 'max_age="900"' in refused.headers["www-authenticate"]
    assert (await auth.get(path, headers=headers)).status_code == 200
    monkeypatch.undo()
    shown = await auth.post(PATH, json={"current_password": "admin123"}, headers=headers)
    assert shown.status_code == 200, shown.text
    fresh = shown.json()

    assert (fresh["token_type"], fresh["expires_in"]) == ("Bearer", 900)
    assert claims_of(fresh["token"])["sid"] == claims_of(headers["Authorization"][7:])["sid"]
    done = await auth.patch(path, json=WHY | {"status": "suspended"}, headers=bearer(fresh["token"]))
    assert done.status_code == 200
    record = [one for one in records(database_url, EVENTS) if one["action"] == "CONFIRM_IDENTITY"][-1]
    assert record["metadata"] == {"amr": "pwd"}


async def test_step_up_requires_the_second_factor_if_enrolled(
    auth: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, clock: StoppedClock
) -> None:
    codes = Clock()
    monkeypatch.setattr("services.auth.factors.totp.time", codes)
    person = await enrolled(auth, codes)
    body = {"current_password": PASSWORD}

    for code in ({}, {"code": "000000"}):
        refused = await auth.post(PATH, json=body | code, headers=person.headers)
        assert (refused.status_code, refused.json()["code"]) == (401, "invalid_code")
    done = await auth.post(PATH, json=body | {"code": person.next_code()}, headers=person.headers)
    assert claims_of(done.json()["token"])["acr"] == "2"
    used = await auth.post(PATH, json=body | {"code": person.code()}, headers=person.headers)
    assert used.json()["code"] == "invalid_code"


async def test_step_up_throttles_guesses_and_refuses_programs(
    auth: httpx.AsyncClient, clock: StoppedClock
) -> None:
    ann = await register(auth)
    headers, wrong = bearer(ann["token"]), {"current_password": "wrong"}
    found = [(await auth.post(PATH, json=wrong, headers=headers)).status_code for _ in range(6)]

    assert found == [403] * 5 + [429]
    assert (await auth.post(PATH, json=wrong)).status_code == 401
    other = bearer((await login(auth, ann["user"]["email"])).json()["token"])
    assert (await auth.post(PATH, json={}, headers=other)).status_code == 422


@pytest.mark.parametrize("path", ["", "/confirm", "/remove"])
async def test_authenticator_app_is_changed_only_after_a_recent_sign_in(
    auth: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    headers = bearer((await register(auth))["token"])
    body = {"code": "000000"} if path == "/confirm" else {"current_password": PASSWORD}
    later(monkeypatch, 16 * 60)
    response = await auth.post(f"/auth/me/totp{path}", json=body, headers=headers)

    assert response.json()["code"] == "insufficient_user_authentication"
