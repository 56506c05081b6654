"""The first sign-in after somebody else has set the password: its owner has to choose another one."""

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
import pyotp
import pytest

from services.auth.credentials.throttle import FREE_FAILURES
from services.auth.models import EVENTS, Account, LoginSession
from shared.testing import bearer
from tests.auth.authenticator import Authenticator
from tests.auth.browser import field, post, sign_in_options
from tests.auth.mailbox import Mailbox
from tests.auth.support import PASSWORD, login, register, rows, set_account
from tests.told import records

CHOSEN = "staple of my own choice"


@pytest.fixture
async def person(auth: httpx.AsyncClient, database_url: str) -> dict[str, Any]:
    """An account whose password an admin has set."""
    user: dict[str, Any] = (await register(auth, username="robin", password=PASSWORD))["user"]
    set_account(database_url, "robin", must_change_password=True)
    auth.cookies.clear()
    return user


def outcomes(database_url: str, action: str) -> list[tuple[Any, ...]]:
    """Return outcome, status, actor and details of the records of an action."""
    found = [one for one in records(database_url, EVENTS) if one["action"] == action]
    return [(one["outcome"], one["status"], one["actor"], one["metadata"]) for one in found]


async def on_page(auth: httpx.AsyncClient, password: str, new: str) -> httpx.Response:
    return await post(auth, "/auth/signin", name="robin", password=password, new_password=new)


async def by_api(auth: httpx.AsyncClient, password: str, new: str) -> httpx.Response:
    return await auth.post(
        "/auth/login", json={"username": "robin", "password": password, "new_password": new}
    )


@pytest.mark.parametrize(("way", "action"), [(on_page, "SIGN_IN"), (by_api, "LOGIN")])
async def test_refused_new_password_is_recorded_as_a_refusal(
    way: Any, action: str, auth: httpx.AsyncClient, person: dict[str, Any], database_url: str
) -> None:
    refused = await way(auth, PASSWORD, person["email"])

    assert refused.status_code == 422, refused.text
    assert "must not be the e-mail address" in refused.text
    assert "session" not in refused.headers.get("set-cookie", "")
    assert outcomes(database_url, action) == [("refused", 422, "anonymous", {})]


async def test_wrong_password_with_a_short_new_one_is_an_ordinary_throttled_refusal(
    auth: httpx.AsyncClient, person: dict[str, Any], database_url: str
) -> None:
    shown = [await on_page(auth, "wrong", "short") for _ in range(FREE_FAILURES + 1)]

    assert [one.status_code for one in shown] == [401] * FREE_FAILURES + [429]
    assert "The name or the password is wrong" in shown[0].text
    assert "success" not in {outcome for outcome, *_ in outcomes(database_url, "SIGN_IN")}


@pytest.mark.parametrize("new", ["short", "x" * 1025])
async def test_new_password_of_the_page_has_8_to_1024_characters(
    new: str, auth: httpx.AsyncClient, person: dict[str, Any]
) -> None:
    refused = await on_page(auth, PASSWORD, new)

    assert refused.status_code == 422
    assert "must have at" in refused.text


async def test_same_password_in_another_unicode_form_is_refused(
    auth: httpx.AsyncClient, database_url: str
) -> None:
    composed, decomposed = "caf\u00e9 au lait", "cafe\u0301 au lait"
    await register(auth, username="robin", password=composed)
    set_account(database_url, "robin", must_change_password=True)

    assert "must differ" in (await by_api(auth, composed, decomposed)).text
    assert (await by_api(auth, composed, CHOSEN)).status_code == 200


async def test_chosen_password_is_set_by_the_second_factor_only(
    mailbox: Mailbox, auth: httpx.AsyncClient, database_url: str
) -> None:
    registered = await register(auth, username="robin")
    _, codes = await enrolled_app(auth, bearer(registered["token"]))
    set_account(database_url, "robin", must_change_password=True)
    first = await by_api(auth, PASSWORD, CHOSEN)
    mails_before = mailbox.mails(registered["user"]["email"], "password_changed")
    kept = (await login(auth, "robin", CHOSEN)).status_code, (await login(auth, "robin")).status_code
    details = [detail for _, _, _, detail in outcomes(database_url, "LOGIN")]
    body = {"mfa_token": first.json()["mfa_token"], "code": codes[0]}
    done = await auth.post("/auth/mfa/verify", json=body)

    assert (first.status_code, done.status_code) == (200, 200), done.text
    assert kept == (401, 403)  # the password of the admin still stands, and still has to be changed
    assert not [one for one in details if "chose_password" in one]
    assert [one[3].get("chose_password") for one in outcomes(database_url, "VERIFY_MFA")] == [True]
    assert (mails_before, len(mailbox.mails(registered["user"]["email"], "password_changed"))) == ([], 1)
    assert "mfa_token" in (await login(auth, "robin", CHOSEN)).json()
    assert (await login(auth, "robin")).status_code == 401


async def factor_by_page(auth: httpx.AsyncClient, first: httpx.Response, **shown: Any) -> httpx.Response:
    """Send the form of the second factor that the page has shown."""
    form = {"code": shown["code"]} if "code" in shown else {"credential": json.dumps(shown["credential"])}
    return await post(auth, "/auth/signin/code", mfa_token=field(first, "mfa_token"), **form)


async def factor_by_api(auth: httpx.AsyncClient, first: httpx.Response, **shown: Any) -> httpx.Response:
    path = "/auth/mfa/verify" if "code" in shown else "/auth/mfa/passkey"
    return await auth.post(path, json={"mfa_token": first.json()["mfa_token"], **shown})


@dataclass(frozen=True)
class Way:
    """How to send the password and the second factor, and what each is recorded as."""

    password: Any
    factor: Any
    first_action: str
    actions: tuple[str, ...]
    succeeded: int


PAGE = Way(on_page, factor_by_page, "SIGN_IN", ("SIGN_IN_WITH_CODE",), 303)
API = Way(by_api, factor_by_api, "LOGIN", ("VERIFY_MFA", "VERIFY_MFA_WITH_PASSKEY"), 200)


@pytest.mark.parametrize("kind", ["app", "recovery_code", "passkey"])
@pytest.mark.parametrize("way", [PAGE, API], ids=["page", "api"])
async def test_wrong_factor_keeps_the_given_password_and_the_right_one_sets_the_chosen_M1(
    way: Way, kind: str, mailbox: Mailbox, auth: httpx.AsyncClient, database_url: str
) -> None:
    user, wrong, right = await with_factor(auth, kind)
    set_account(database_url, "robin", must_change_password=True)
    auth.cookies.clear()
    hash_before = hash_of(database_url)
    first = await way.password(auth, PASSWORD, CHOSEN)
    refused = await way.factor(auth, first, **await wrong())
    kept = hash_of(database_url), mailbox.mails(user["email"], "password_changed")
    done = await way.factor(auth, first, **await right())
    again = await way.factor(auth, first, **await right())
    shown = [one for action in way.actions for one in outcomes(database_url, action)]

    assert (first.status_code, refused.status_code, done.status_code) == (200, 401, way.succeeded), done.text
    assert kept == (hash_before, [])
    assert (hash_of(database_url) != hash_before, again.status_code) == (True, 401)
    assert [one[3].get("chose_password") for one in shown] == [None, True, None]
    assert [one[3].get("chose_password") for one in outcomes(database_url, way.first_action)] == [None]
    assert len(mailbox.mails(user["email"], "password_changed")) == 1
    assert (await login(auth, "robin")).status_code == 401
    assert (await login(auth, "robin", CHOSEN)).json()["requires_mfa"] is True


Show = Callable[[], Awaitable[dict[str, Any]]]


async def with_factor(auth: httpx.AsyncClient, kind: str) -> tuple[dict[str, Any], Show, Show]:
    """Return a new account with a second factor, and what makes the fields of a wrong and the right one."""
    registered = await register(auth, username="robin")
    user, headers = registered["user"], bearer(registered["token"])
    if kind == "passkey":
        device, stranger = Authenticator(), Authenticator()
        options = (await auth.post("/auth/me/passkeys/options", headers=headers)).json()
        body = {"name": "Phone", "credential": device.make(options)}
        assert (await auth.post("/auth/me/passkeys", json=body, headers=headers)).status_code == 201

        async def signed_by(one: Authenticator) -> dict[str, Any]:
            return {"credential": one.sign(await sign_in_options(auth))}

        return user, partial(signed_by, stranger), partial(signed_by, device)
    secret, codes = await enrolled_app(auth, headers)

    async def code(text: str) -> dict[str, Any]:
        return {"code": text}

    right = codes[0] if kind == "recovery_code" else pyotp.TOTP(secret).at(int(time.time()) + 30)
    return user, partial(code, "000000" if kind == "app" else "wrong-wrong"), partial(code, right)


async def enrolled_app(auth: httpx.AsyncClient, headers: dict[str, str]) -> tuple[str, list[str]]:
    """Enrol an authenticator app; return its secret and the recovery codes."""
    body = {"current_password": PASSWORD}
    secret = (await auth.post("/auth/me/totp", json=body, headers=headers)).json()["secret"]
    confirming = {"code": pyotp.TOTP(secret).now()}
    confirmed = await auth.post("/auth/me/totp/confirm", json=confirming, headers=headers)
    return secret, confirmed.json()["recovery_codes"]


def hash_of(database_url: str) -> str:
    [account] = [row for row in rows(database_url, Account) if row["username"] == "robin"]
    assert isinstance(account["password_hash"], str)
    return account["password_hash"]


async def test_chosen_password_ends_links_challenges_and_sessions_and_sends_a_mail(
    mailbox: Mailbox, auth: httpx.AsyncClient, person: dict[str, Any], database_url: str
) -> None:
    await auth.post("/auth/password/forgot", json={"email": person["email"]})
    await mailbox.after_requests(person["email"], "reset_password")
    token = mailbox.token(person["email"], "reset_password")
    done = await by_api(auth, PASSWORD, CHOSEN)
    late = await auth.post("/auth/password/reset", json={"token": token, "new_password": "one more password"})

    assert done.status_code == 200, done.text
    assert late.status_code == 400, late.text
    assert len(mailbox.mails(person["email"], "password_changed")) == 1
    assert [row["revoked"] is None for row in rows(database_url, LoginSession)].count(True) == 1
    assert [one[3].get("chose_password") for one in outcomes(database_url, "LOGIN")] == [True]
