"""The account pages, as a browser without scripts uses them."""

import asyncio
import re
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest

from services.auth.app import create_app
from services.auth.models import EVENTS, IDEMPOTENCY, AccessKey, LoginSession
from services.auth.settings import Settings
from shared.testing import bearer, internal_token, running
from tests.auth.browser import ACCOUNT, exchanged, field, living_sessions, post
from tests.auth.conftest import StoppedClock
from tests.auth.mailbox import Mailbox
from tests.auth.oauth.support import (
    admin_token,
    authorize,
    create_client,
    is_active,
    sign_in,
    signed_in_browser,
    tokens_for,
)
from tests.auth.support import PASSWORD, a_name, let_time_pass, login, register, rows
from tests.told import events, records

PAGES = (
    "",
    "/email",
    "/security",
    "/password",
    "/totp",
    "/passkeys",
    "/sessions",
    "/apps",
    "/tokens",
    "/delete",
)
FORMS = (
    *(page for page in PAGES if page != "/security"),
    "/totp/confirm",
    "/totp/remove",
    "/passkeys/add",
    "/passkeys/remove",
    "/tokens/revoke",
)
NEW = "a new password"


async def test_anonymous_visitor_signs_in_and_returns_to_the_requested_page(auth: httpx.AsyncClient) -> None:
    user = (await register(auth))["user"]
    for path in PAGES:
        asked = await auth.get(f"{ACCOUNT}{path}")
        assert asked.status_code == 303
        assert asked.headers["location"] == f"/auth/signin?next=%2Fauth%2Faccount{path.replace('/', '%2F')}"
    page = await auth.get(asked.headers["location"])
    signed_in = await sign_in(auth, user["email"], after=field(page, "next"))

    assert signed_in.headers["location"] == f"{ACCOUNT}/delete"
    for path in PAGES:
        shown = await auth.get(f"{ACCOUNT}{path}")
        assert (shown.status_code, shown.headers["cache-control"]) == (200, "no-store"), path
        has_script = "script-src" in shown.headers["content-security-policy"]
        assert has_script == (path == "/passkeys"), path
        assert user["email"] in shown.text


@pytest.mark.parametrize(
    "after",
    [
        "//evil.example",
        "/auth/account/../../x",
        "/auth/account?x=y",
        "/auth/accounts",
        "/auth/account/x/y",
        "",
    ],
)
async def test_sign_in_redirects_to_no_other_path_below_the_account(
    auth: httpx.AsyncClient, after: str
) -> None:
    user = (await register(auth))["user"]

    assert (await sign_in(auth, user["email"], after=after)).headers["location"] == "/auth/signin"


async def test_forms_from_other_sites_or_anonymous_visitors_change_nothing(
    auth: httpx.AsyncClient, database_url: str
) -> None:
    for path in FORMS:
        for headers in ({}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
            refused = await auth.post(f"{ACCOUNT}{path}", data={"name": "x"}, headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (403, "foreign_form"), path
        stranger = await post(auth, f"{ACCOUNT}{path}", current_password=PASSWORD)
        assert (stranger.status_code, stranger.headers["location"][:13]) == (303, "/auth/signin?"), path
    assert {one["outcome"] for one in records(database_url, EVENTS)} == {"refused"}


async def test_invalid_input_gets_a_page_or_a_problem_and_never_a_server_error(
    auth: httpx.AsyncClient, clock: StoppedClock
) -> None:
    await signed_in_browser(auth)
    much = "&".join(f"a{number}=1" for number in range(200))
    headers = {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/x-www-form-urlencoded"}
    bodies = (
        "",
        "name=%00&username=%00&code=%00&current_password=%00&session_id=%00",
        "name=%ff&credential=%7B",
        "name=x&credential=[]&session_id=x&client_id=x&key_id=x&passkey_id=x",
        f"username={'x' * 400}&first_name={'x' * 400}&code={'1' * 400}",
        much,
        "a" * 70_000,
    )
    for path in FORMS:
        for body in bodies:
            sent = await auth.post(f"{ACCOUNT}{path}", content=body, headers=headers)
            assert 300 < sent.status_code < 500 or sent.status_code == 200, (path, body, sent.text)
    for path in PAGES:
        for query in ("?cursor=x", "?cursor=%00", "?done=%00", f"?{much}", f"?done={'x' * 5000}"):
            assert (await auth.get(f"{ACCOUNT}{path}{query}")).status_code in (200, 400, 422)


async def test_changed_names_are_saved_and_emitted_as_an_event(
    auth: httpx.AsyncClient, database_url: str
) -> None:
    await signed_in_browser(auth, username=(name := a_name()))
    other = await register(auth, username=a_name())
    form = {"first_name": "Ann", "last_name": "Öz <b>", "username": f"{name}-2"}
    done = await post(auth, ACCOUNT, **form)
    page = await auth.get(done.headers["location"])
    taken = await post(auth, ACCOUNT, **form | {"username": other["user"]["username"]})
    bad = await post(auth, ACCOUNT, **form | {"username": "?"})

    assert "Your names are saved" in page.text
    assert f'value="{name}-2"' in page.text
    assert "Öz &lt;b&gt;" in page.text
    assert (taken.status_code, "This username is already taken" in taken.text) == (409, True)
    assert (bad.status_code, "must be 3 to 32 letters" in bad.text) == (422, True)
    assert (await post(auth, ACCOUNT, **form | {"first_name": ""})).status_code == 303
    told = [one.data for one in events(database_url, EVENTS) if one.topic == "account.changed"]
    assert [(one["first_name"], one["username"], one["names_changed"]) for one in told] == [
        ("Ann", f"{name}-2", True),
        (None, f"{name}-2", True),
    ]


async def test_password_change_ends_the_other_sessions(
    mailbox: Mailbox, auth: httpx.AsyncClient, clock: StoppedClock, database_url: str
) -> None:
    user = await signed_in_browser(auth)
    path, form = f"{ACCOUNT}/password", {"current_password": PASSWORD, "new_password": NEW}
    wrong = await post(auth, path, **form | {"current_password": "wrong"})
    short = await post(auth, path, **form | {"new_password": "short"})
    assert living_sessions(database_url) == 2
    done = await post(auth, path, **form)
    page = await auth.get(done.headers["location"])

    assert (wrong.status_code, "The current password is wrong" in wrong.text) == (403, True)
    assert (short.status_code, "must have at least 8 characters" in short.text) == (422, True)
    assert "Your password is changed" in page.text
    assert living_sessions(database_url) == 1
    assert (await login(auth, user["email"], NEW)).status_code == 200
    assert len(mailbox.mails(user["email"], "password_changed")) == 1
    told = [(one["action"], one["status"], one["user_id"]) for one in records(database_url, EVENTS)]
    assert ("CHANGE_PASSWORD", 200, user["id"]) in told


async def test_another_session_and_then_the_current_one_can_be_ended(
    auth: httpx.AsyncClient, database_url: str
) -> None:
    await signed_in_browser(auth)  # two sessions: one from registration, one from the sign-in page
    page = await auth.get(f"{ACCOUNT}/sessions")
    (current,) = [row for row in page.text.split('<div class="row">') if "This browser" in row]
    (other,) = [row for row in page.text.split('<div class="row">') if "End session of" in row]
    ended = await post(auth, f"{ACCOUNT}/sessions", session_id=_value(other))
    again = await post(auth, f"{ACCOUNT}/sessions", session_id=_value(other))

    assert (ended.headers["location"], again.status_code) == (f"{ACCOUNT}/sessions?done=session", 303)
    assert "by password" in page.text
    assert "python-httpx" in current
    assert living_sessions(database_url) == 1
    out = await post(auth, f"{ACCOUNT}/sessions", session_id=_value(current))
    assert out.headers["location"] == "/auth/signin"
    assert "Max-Age=0" in out.headers["set-cookie"]
    assert (await auth.get(ACCOUNT)).status_code == 303


async def test_sessions_of_other_accounts_cannot_be_ended(auth: httpx.AsyncClient, database_url: str) -> None:
    await register(auth)
    (foreign,) = rows(database_url, LoginSession)
    await signed_in_browser(auth)
    await post(auth, f"{ACCOUNT}/sessions", session_id=foreign["id"])

    assert living_sessions(database_url) == 3


async def test_connected_app_is_listed_and_can_be_disconnected(auth: httpx.AsyncClient) -> None:
    client = await create_client(auth)
    await signed_in_browser(auth)
    empty = await auth.get(f"{ACCOUNT}/apps")
    tokens = await tokens_for(auth, client)
    page = await auth.get(f"{ACCOUNT}/apps")
    done = await post(auth, f"{ACCOUNT}/apps", client_id=field(page, "client_id"))

    assert "No connected apps" in empty.text
    assert ("Ledgerline" in page.text, "Know who you are here" in page.text) == (True, True)
    assert done.headers["location"] == f"{ACCOUNT}/apps?done=app"
    assert not await is_active(auth, client, tokens["access_token"])
    assert (await authorize(auth, client)).status_code == 200  # asks for consent again


async def test_token_is_created_shown_once_and_revoked(auth: httpx.AsyncClient, database_url: str) -> None:
    await signed_in_browser(auth)
    path, internal = f"{ACCOUNT}/tokens", bearer(internal_token("auth"))
    form = {"name": "nightly", "scope account:read": "on", "days": "30"}
    nothing = await post(auth, path, name="nightly", days="30")
    unknown = await post(auth, path, **form | {"scope admin:all": "on"})
    made = await post(auth, path, **form)
    exchange = {"credential": token_in(made)}
    used = await auth.post("/internal/exchange", json=exchange, headers=internal)
    page = await auth.get(path)

    assert (nothing.status_code, unknown.status_code) == (422, 422)
    assert 'name="scope account:read" checked' in unknown.text
    assert "admin:users" not in page.text
    assert "scope admin:support" in page.text  # support staff are often not admins
    assert (used.status_code, "gatehouse_pat_" in page.text) == (200, False)
    (key,) = rows(database_url, AccessKey)
    assert timedelta(days=29) < key["expires"] - key["created"] < timedelta(days=31)
    revoked = await post(auth, f"{path}/revoke", key_id=key["id"])
    assert revoked.headers["location"] == f"{path}?done=token"
    assert (await auth.post("/internal/exchange", json=exchange, headers=internal)).status_code == 404
    assert "No tokens" in (await auth.get(path)).text


async def test_form_that_is_sent_again_creates_one_token(auth: httpx.AsyncClient, database_url: str) -> None:
    await signed_in_browser(auth)
    path = f"{ACCOUNT}/tokens"
    first_page, second_page = await auth.get(path), await auth.get(path)
    form = {"name": "nightly", "scope account:read": "on", "days": "30", "key": field(first_page, "key")}
    once, twice = await asyncio.gather(post(auth, path, **form), post(auth, path, **form))
    later = await post(auth, path, **form)
    changed = await post(auth, path, **form | {"name": "weekly"})
    corrected = await post(auth, path, **form | {"name": "weekly", "key": field(changed, "key")})
    too_long = await post(auth, path, **form | {"key": "k" * 256})
    shown = [token_in(one) for one in (once, twice, later, corrected)]

    assert field(second_page, "key") != form["key"]
    assert shown[0] == shown[1] == shown[2] != shown[3]
    assert changed.status_code == 422
    assert "has already created a token" in changed.text
    assert too_long.status_code == 400
    assert sorted(one["name"] for one in rows(database_url, AccessKey)) == ["nightly", "weekly"]
    made = [one for one in records(database_url, EVENTS) if one["action"] == "CREATE_ACCESS_KEY"]
    assert [one["outcome"] for one in made].count("success") == 2
    kept = str(rows(database_url, IDEMPOTENCY.table))
    assert ("s1." in kept, "gatehouse_pat_" in kept) == (True, False), "what is kept is sealed"


def token_in(page: httpx.Response) -> str:
    """Return the new token that a page shows."""
    found = re.search(r'value="(gatehouse_pat_[^"]+)"', page.text)
    assert found is not None, page.text
    return found[1]


async def test_account_is_deleted_if_the_password_is_correct(
    auth: httpx.AsyncClient, clock: StoppedClock, database_url: str
) -> None:
    user = await signed_in_browser(auth)
    headers = await exchanged(auth, bearer(internal_token("auth")))
    path = f"{ACCOUNT}/delete"
    wrong = await post(auth, path, current_password="wrong")
    by_program = await auth.post("/auth/me/delete", json={"current_password": "wrong"}, headers=headers)
    done = await post(auth, path, current_password=PASSWORD)

    assert (wrong.status_code, by_program.status_code) == (403, 403)
    assert (done.status_code, "Your account is deleted" in done.text) == (200, True)
    assert "Max-Age=0" in done.headers["set-cookie"]
    assert (await login(auth, user["email"])).status_code == 401
    assert (await auth.get("/auth/me", headers=headers)).status_code == 401
    assert [one.topic for one in events(database_url, EVENTS)].count("account.deleted") == 1
    record = [one for one in records(database_url, EVENTS) if one["action"] == "DELETE_OWN_ACCOUNT"][-1]
    assert (record["user_id"], record["outcome"]) == (user["id"], "success")
    assert (await register(auth, email=user["email"]))["user"]["id"] != user["id"]


async def test_last_admin_cannot_delete_their_account(auth: httpx.AsyncClient) -> None:
    assert (await sign_in(auth, "admin", "admin123")).status_code == 303
    refused = await post(auth, f"{ACCOUNT}/delete", current_password="admin123")
    headers = bearer((await login(auth, "admin", "admin123")).json()["token"])
    by_program = await auth.post("/auth/me/delete", json={"current_password": "admin123"}, headers=headers)

    assert (refused.status_code, "the last active admin" in refused.text) == (409, True)
    assert (by_program.status_code, by_program.json()["code"]) == (409, "last_admin")
    assert "admin:users" in (await auth.get(f"{ACCOUNT}/tokens")).text


async def test_ended_session_shows_no_page(auth: httpx.AsyncClient, database_url: str) -> None:
    await signed_in_browser(auth)
    let_time_pass(database_url, LoginSession, "expires", timedelta(days=91))

    assert (await auth.get(ACCOUNT)).status_code == 303


async def test_session_of_an_admin_who_impersonates_the_user_is_shown_and_ended(
    make_auth_settings: Callable[..., Settings],
) -> None:
    async with running(create_app, make_auth_settings(impersonation_seconds=600)) as auth:
        user = await signed_in_browser(auth)
        path, admin = f"/auth/accounts/{user['id']}/impersonation", bearer(await admin_token(auth))
        token = (await auth.post(path, json={"reason": "support"}, headers=admin)).json()["token"]
        page = await auth.get(f"{ACCOUNT}/sessions")
        (row,) = [row for row in page.text.split('<div class="row">') if "An admin acting as you" in row]
        await post(auth, f"{ACCOUNT}/sessions", session_id=_value(row))

        assert (await auth.get("/auth/me", headers=bearer(token))).status_code == 401


def _value(row: str) -> str:
    found = re.search(r'name="session_id" value="([^"]+)"', row)
    assert found is not None, row
    return found[1]
