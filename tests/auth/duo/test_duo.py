"""Duo as a second factor, as browsers and JSON clients use it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import jwt
import pytest
from structlog.testing import capture_logs

from services.auth.app import create_app
from services.auth.models import EVENTS, Challenge, Factor, LoginSession
from services.auth.provider_models import PendingSignIn
from services.auth.settings import Settings
from shared.clock import now
from shared.data.database import Database
from shared.testing import bearer, running
from tests.auth.browser import codes_of, field, post
from tests.auth.duo.conftest import configured
from tests.auth.duo.double import FakeDuo
from tests.auth.mailbox import Mailbox
from tests.auth.oauth.support import sign_in
from tests.auth.providers.support import PAGE
from tests.auth.support import PASSWORD, let_time_pass, login, register, rows, set_account
from tests.told import records


async def enrolled(auth: httpx.AsyncClient, duo: FakeDuo, name: str = "robin") -> dict[str, Any]:
    """Register an account that uses Duo."""
    registered = await register(auth, username=name)
    headers = bearer(registered["token"])
    url = (await auth.post("/auth/me/duo", headers=headers)).json()["url"]
    added = await back(auth, "enrol", duo.approve(url))
    assert added.status_code == 200, added.text
    return {**registered["user"], "headers": headers, "codes": added.json()["recovery_codes"]}


async def back(
    auth: httpx.AsyncClient, use: str, query: dict[str, str], headers: dict[str, str] | None = None
) -> httpx.Response:
    return await auth.get(f"/auth/duo/{use}?{urlencode(query)}", headers=headers)


async def asked(auth: httpx.AsyncClient, name: str = "robin") -> str:
    """Send the password; return the mfa_token."""
    body = (await login(auth, name)).json()
    assert "duo" in body["methods"], body
    token: str = body["mfa_token"]
    return token


async def prompted(auth: httpx.AsyncClient, name: str = "robin") -> str:
    """Send the password; return the URL of the prompt."""
    sent = await auth.post("/auth/mfa/duo", json={"mfa_token": await asked(auth, name)})
    assert sent.status_code == 200, sent.text
    url: str = sent.json()["url"]
    return url


async def browser_signs_in(auth: httpx.AsyncClient, duo: FakeDuo) -> None:
    page = await sign_in(auth, "robin")
    sent = await post(auth, "/auth/signin/duo", mfa_token=field(page, "mfa_token"))
    assert (await back(auth, "sign-in", duo.approve(sent.headers["location"]), PAGE)).status_code == 303


async def refused(work: Any) -> tuple[int, str, str]:
    """Return the status, code and logged reason of a refusal."""
    with capture_logs() as logs:
        response = await work
    reasons = [line["reason"] for line in logs if line["event"] == "duo_refused"]
    assert len(reasons) == 1, (response.text, logs)
    assert "session" not in response.headers.get("set-cookie", "")
    return response.status_code, response.json()["code"], reasons[0]


@pytest.mark.conforms("Duo Universal Prompt")
async def test_approval_signs_in_and_the_password_alone_does_not_M4(
    mailbox: Mailbox, auth: httpx.AsyncClient, duo: FakeDuo, database_url: str
) -> None:
    person = await enrolled(auth, duo)
    query = duo.approve(await prompted(auth))
    done = await back(auth, "sign-in", query)

    assert done.status_code == 200, done.text
    assert done.json()["user"]["id"] == person["id"]
    assert done.headers["cache-control"] == "no-store"
    listed = (await auth.get("/auth/me/sessions", headers=bearer(done.json()["token"]))).json()
    assert [one["amr"] for one in listed if one["is_current"]] == [["pwd", "mca"]]
    assert len(person["codes"]) == 10
    assert mailbox.mails(person["email"], "factor_added")
    assert await refused(back(auth, "sign-in", query)) == (400, "invalid_state", "state_unknown")
    assert rows(database_url, Challenge) == rows(database_url, PendingSignIn) == []
    recorded = [one["action"] for one in records(database_url, EVENTS) if one["status"] < 400]
    assert {"ADD_DUO", "SIGN_IN_WITH_DUO"} <= {*recorded}


async def test_browser_signs_in_through_the_page(auth: httpx.AsyncClient, duo: FakeDuo) -> None:
    person = await enrolled(auth, duo)
    page = await sign_in(auth, person["email"], after="/auth/account/security")
    form = {"mfa_token": field(page, "mfa_token"), "next": "/auth/account/security"}
    foreign = await auth.post("/auth/signin/duo", data=form)
    sent = await post(auth, "/auth/signin/duo", **form)
    arrived = await back(auth, "sign-in", duo.approve(sent.headers["location"]), PAGE)

    assert "Continue with Duo" in page.text
    assert (foreign.status_code, sent.status_code, arrived.status_code) == (403, 303, 303)
    assert arrived.headers["location"] == "/auth/account/security"
    shown = await auth.get("/auth/account/security")
    assert "Remove Duo" in shown.text
    late = await post(auth, "/auth/signin/duo", **form)
    assert late.status_code == 401
    assert "Sign in again" in late.text


async def test_page_offers_duo_before_a_recovery_code_unless_there_is_an_app(
    auth: httpx.AsyncClient, duo: FakeDuo, database_url: str
) -> None:
    person = await enrolled(auth, duo)
    alone = (await sign_in(auth, person["email"])).text
    add_totp(database_url, person["id"])
    beside_app = (await sign_in(auth, person["email"])).text

    assert alone.index("Continue with Duo") < alone.index('id="code"')
    assert "A passkey" not in alone
    assert beside_app.index('id="code"') < beside_app.index("Continue with Duo")
    for page in (alone, beside_app):  # Enter in the field submits the code
        (form,) = [one for one in page.split("</form>") if 'id="code"' in one]
        assert '<form method="post" action="/auth/signin/code">' in form
        assert "formaction" not in form


async def test_browser_sets_up_and_removes_duo(
    mailbox: Mailbox, auth: httpx.AsyncClient, duo: FakeDuo, database_url: str
) -> None:
    user = (await register(auth, username="robin"))["user"]
    await sign_in(auth, user["email"])
    sent = await post(auth, "/auth/account/duo")
    added = await back(auth, "enrol", duo.approve(sent.headers["location"]), PAGE)
    again = await post(auth, "/auth/account/duo")
    removed = await post(auth, "/auth/account/duo/remove")
    twice = await post(auth, "/auth/account/duo/remove")

    assert len(codes_of(added)) == 10
    assert (again.status_code, "uses Duo already" in again.text) == (409, True)
    assert removed.headers["location"] == "/auth/account/security?done=no-duo"
    assert twice.status_code == 409
    assert rows(database_url, Factor) == []
    assert "user" in (await login(auth, user["email"])).json()
    assert len(mailbox.mails(user["email"], "factor_removed")) == 1


async def test_browser_without_a_session_is_shown_the_recovery_codes_of_an_enrolment_begun_by_token(
    auth: httpx.AsyncClient, duo: FakeDuo
) -> None:
    headers = bearer((await register(auth, username="robin"))["token"])
    url = (await auth.post("/auth/me/duo", headers=headers)).json()["url"]
    added = await back(auth, "enrol", duo.approve(url), PAGE)

    assert added.status_code == 200
    assert len(codes_of(added)) == 10


async def test_denial_refuses_and_leaves_the_sign_in_open_for_another_method(
    auth: httpx.AsyncClient, duo: FakeDuo, database_url: str
) -> None:
    person = await enrolled(auth, duo)
    token = await asked(auth)
    url = (await auth.post("/auth/mfa/duo", json={"mfa_token": token})).json()["url"]

    denied = await refused(back(auth, "sign-in", duo.deny(url)))
    assert denied == (401, "duo_denied", "duo_said_access_denied")
    failed = [one for one in records(database_url, EVENTS) if one["action"] == "SIGN_IN_WITH_DUO"]
    assert [one["status"] for one in failed] == [401]
    body = {"mfa_token": token, "code": person["codes"][0]}
    assert (await auth.post("/auth/mfa/verify", json=body)).status_code == 200


async def test_outage_fails_closed_and_offers_the_other_methods_M4(
    auth: httpx.AsyncClient, duo: FakeDuo, database_url: str
) -> None:
    person = await enrolled(auth, duo)
    url, token = await prompted(auth), await asked(auth)
    query = duo.approve(url)
    sessions = len(rows(database_url, LoginSession))
    duo.raw["health_check"] = duo.raw["token"] = 503, b"{}"

    begun = await auth.post("/auth/mfa/duo", json={"mfa_token": token})
    page = await post(auth, "/auth/signin/duo", mfa_token=token)
    assert (begun.status_code, begun.json()["code"]) == (503, "duo_unavailable")
    assert "retry-after" in begun.headers
    assert page.status_code == 503
    assert "Duo cannot be reached" in page.text
    assert "Recovery code" in page.text
    closed = await refused(back(auth, "sign-in", query))
    assert closed == (503, "duo_unavailable", "duo_status_503")
    assert len(rows(database_url, LoginSession)) == sessions
    assert "user" not in (await login(auth, person["email"])).json()


def add_totp(database_url: str, account_id: str) -> None:
    database = Database(database_url, pool_size=1)
    with database.transaction() as session:
        session.add(Factor(account_id=account_id, secret="", confirmed=now()))
    database.close()


async def test_open_mode_signs_its_role_in_with_one_factor_while_duo_is_down_M4(
    make_auth_settings: Callable[..., Settings], duo: FakeDuo, database_url: str
) -> None:
    settings = make_auth_settings(**configured(duo), duo_open_roles="user")
    async with running(create_app, settings) as auth:
        await enrolled(auth, duo)
        assert "/auth/duo/" not in await prompted(auth)  # Duo is asked as long as it can be reached
        duo.raw["health_check"] = 503, b"{}"
        with capture_logs() as logs:
            url = urlsplit(await prompted(auth))
        path = f"{url.path}?{url.query}"
        from_elsewhere = await auth.get(path, headers={"Cookie": "signin=none"})
        signed_in = await auth.get(path)
        claims = jwt.decode(signed_in.json()["token"], options={"verify_signature": False})

        assert from_elsewhere.status_code == 400
        assert (signed_in.status_code, claims["amr"], claims["acr"]) == (200, ["pwd"], "1")
        assert (await auth.get(path)).status_code == 400  # the state is valid once
        assert [one["log_level"] for one in logs if one["event"] == "duo_skipped"] == ["error"]
        told = [one for one in records(database_url, EVENTS) if one["action"] == "SIGN_IN_WITH_DUO"]
        assert [(one["outcome"], one["metadata"]["duo"]) for one in told if one["outcome"] == "success"] == [
            ("success", "skipped")
        ]


async def test_open_mode_holds_for_its_roles_and_its_own_states_only_M4(
    make_auth_settings: Callable[..., Settings], duo: FakeDuo, database_url: str
) -> None:
    async with running(create_app, make_auth_settings(**configured(duo), duo_open_roles="admin")) as auth:
        person = await enrolled(auth, duo)
        state = duo.approve(await prompted(auth))["state"]
        duo.raw["health_check"] = 503, b"{}"
        begun = await auth.post("/auth/mfa/duo", json={"mfa_token": await asked(auth)})
        with_mark = await back(auth, "sign-in", {"state": state, "without": "duo"})
        set_account(database_url, "robin", role="admin")
        url = urlsplit(await prompted(auth))
        set_account(database_url, "robin", role="user")
        demoted = await auth.get(f"{url.path}?{url.query}")
        set_account(database_url, "robin", role="admin")
        add_totp(database_url, person["id"])
        other = await auth.post("/auth/mfa/duo", json={"mfa_token": await asked(auth)})

    assert (begun.status_code, begun.json()["code"]) == (503, "duo_unavailable")
    assert with_mark.status_code == 400
    assert demoted.status_code == 400
    assert other.status_code == 503  # an authenticator app works without Duo


@pytest.mark.parametrize("status", [400, 401, 404, 429])
async def test_open_mode_stays_closed_while_duo_responds_M4(
    status: int, make_auth_settings: Callable[..., Settings], duo: FakeDuo
) -> None:
    settings = make_auth_settings(**configured(duo), duo_open_roles="user")
    async with running(create_app, settings) as auth:
        await enrolled(auth, duo)
        duo.raw["health_check"] = status, b'{"stat": "FAIL"}'
        begun = await auth.post("/auth/mfa/duo", json={"mfa_token": await asked(auth)})

    assert (begun.status_code, begun.json()["code"]) == (503, "duo_unavailable")


@pytest.mark.parametrize("use", ["enrol", "step-up"])
async def test_state_is_valid_for_its_purpose_its_browser_and_ten_minutes_M4(
    use: str, auth: httpx.AsyncClient, duo: FakeDuo, database_url: str
) -> None:
    await enrolled(auth, duo)
    query = duo.approve(await prompted(auth))
    strange = (400, "invalid_state")

    assert await refused(back(auth, use, query)) == (*strange, "state_of_another_provider")
    wrong = query | {"state": "x" * 43}
    assert await refused(back(auth, "sign-in", wrong)) == (*strange, "state_unknown")
    assert await refused(back(auth, "sign-in", {"duo_code": "code-1"})) == (*strange, "state_missing")
    async with httpx.AsyncClient(transport=auth._transport, base_url="http://service") as other:
        assert await refused(back(other, "sign-in", query)) == (*strange, "state_of_another_browser")
    let_time_pass(database_url, PendingSignIn, "expires", timedelta(minutes=10))
    assert await refused(back(auth, "sign-in", query)) == (*strange, "state_expired")


async def test_approval_of_another_person_or_prompt_is_refused_M4(
    auth: httpx.AsyncClient, duo: FakeDuo
) -> None:
    await enrolled(auth, duo)
    await enrolled(auth, duo, "mallory")
    mine, theirs = duo.approve(await prompted(auth)), duo.approve(await prompted(auth, "mallory"))
    swapped = mine | {"duo_code": theirs["duo_code"]}
    assert await refused(back(auth, "sign-in", swapped)) == (502, "duo_untrusted", "duo_wrong_user")

    first, second = duo.approve(await prompted(auth)), duo.approve(await prompted(auth))
    crossed = first | {"duo_code": second["duo_code"]}
    assert await refused(back(auth, "sign-in", crossed)) == (502, "duo_untrusted", "duo_wrong_nonce")


async def test_name_at_duo_stays_when_the_username_changes(
    auth: httpx.AsyncClient, duo: FakeDuo, database_url: str
) -> None:
    await enrolled(auth, duo)
    names = {"username": "wren", "first_name": "", "last_name": ""}
    await browser_signs_in(auth, duo)
    assert (await post(auth, "/auth/account", **names)).status_code == 303
    query = duo.approve(await prompted(auth, "wren"))

    assert duo.codes[query["duo_code"]]["duo_uname"] == "robin"
    assert (await back(auth, "sign-in", query)).status_code == 200


async def test_prompts_are_limited_like_wrong_codes(auth: httpx.AsyncClient, duo: FakeDuo) -> None:
    await enrolled(auth, duo)
    token = await asked(auth)
    sent = [await auth.post("/auth/mfa/duo", json={"mfa_token": token}) for _ in range(6)]

    assert [one.status_code for one in sent] == [200] * 5 + [401]
    body = {"mfa_token": await asked(auth)}
    assert (await auth.post("/auth/mfa/duo", json=body)).json()["code"] == "login_throttled"
    assert duo.requests.count("/oauth/v1/health_check") == 6  # five, and one at enrolment


async def test_password_change_ends_a_prompt(auth: httpx.AsyncClient, duo: FakeDuo) -> None:
    person = await enrolled(auth, duo)
    query = duo.approve(await prompted(auth))
    change = {"current_password": PASSWORD, "new_password": "another password 7"}
    changed = await auth.put("/auth/me/password", json=change, headers=person["headers"])

    assert changed.status_code == 204, changed.text
    assert await refused(back(auth, "sign-in", query)) == (400, "invalid_state", "challenge_ended")


async def test_duo_confirms_who_the_person_is(
    auth: httpx.AsyncClient, duo: FakeDuo, database_url: str
) -> None:
    person = await enrolled(auth, duo)
    body = {"current_password": PASSWORD}
    wrong = await auth.post(
        "/auth/me/step-up/duo", json={"current_password": "wrong"}, headers=person["headers"]
    )
    sent = await auth.post("/auth/me/step-up/duo", json=body, headers=person["headers"])
    token = (await back(auth, "step-up", duo.approve(sent.json()["url"]))).json()["token"]

    assert wrong.json()["code"] == "wrong_password"
    removed = await auth.delete("/auth/me/duo", headers=bearer(token))
    assert removed.status_code == 204, removed.text


async def test_page_confirms_who_the_person_is_in_the_same_session(
    auth: httpx.AsyncClient, duo: FakeDuo, database_url: str
) -> None:
    await enrolled(auth, duo)
    await browser_signs_in(auth, duo)
    let_time_pass(database_url, LoginSession, "authenticated", timedelta(hours=1))
    let_time_pass(database_url, LoginSession, "created", timedelta(hours=1))
    stale = await post(auth, "/auth/account/duo/remove")
    asked_for = await auth.get("/auth/step-up?next=/auth/account/duo")
    form = {"current_password": PASSWORD, "next": "/auth/account/duo", "duo": "1"}
    before, sent = auth.cookies["session"], await post(auth, "/auth/step-up", **form)
    query = duo.approve(sent.headers["location"])
    confirmed = await back(auth, "step-up", query, PAGE)

    assert "Continue with Duo" in asked_for.text
    assert stale.headers["location"].startswith("/auth/step-up?")
    assert confirmed.headers["location"] == "/auth/account/duo"
    assert auth.cookies["session"] != before
    assert (await post(auth, "/auth/account/duo/remove")).headers["location"].endswith("done=no-duo")


async def test_turning_duo_off_does_not_weaken_accounts(
    make_auth_settings: Any, auth: httpx.AsyncClient, duo: FakeDuo
) -> None:
    person = await enrolled(auth, duo)
    async with running(create_app, make_auth_settings()) as without:
        needed = (await login(without, "robin")).json()
        sent = await without.post("/auth/mfa/duo", json={"mfa_token": needed["mfa_token"]})
        body = {"mfa_token": needed["mfa_token"], "code": person["codes"][0]}
        done = await without.post("/auth/mfa/verify", json=body)

    assert needed["methods"] == ["recovery_code"]
    assert (sent.status_code, sent.json()["code"]) == (409, "no_duo")
    assert done.status_code == 200


async def test_account_without_duo_is_not_sent_there(auth: httpx.AsyncClient, duo: FakeDuo) -> None:
    registered = await register(auth)
    headers = bearer(registered["token"])
    step_up = await auth.post("/auth/me/step-up/duo", json={"current_password": PASSWORD}, headers=headers)
    removed = await auth.delete("/auth/me/duo", headers=headers)
    unknown = await auth.post("/auth/mfa/duo", json={"mfa_token": "x" * 43})
    anonymous = await auth.post("/auth/me/duo")

    assert (step_up.json()["code"], removed.json()["code"]) == ("no_duo", "no_duo")
    assert (unknown.json()["code"], anonymous.status_code) == ("invalid_mfa_token", 401)
