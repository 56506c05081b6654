"""The pages for registration, addresses, forgotten passwords and invitations, as a browser uses them."""

import re
from collections.abc import Callable
from html import unescape
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from services.auth.app import create_app
from services.auth.models import EVENTS
from services.auth.settings import Settings
from shared.testing import bearer, running
from tests.auth.browser import field
from tests.auth.conftest import StoppedClock
from tests.auth.mailbox import Mailbox
from tests.auth.oauth.support import OURS, admin_token, sign_in, signed_in_browser
from tests.auth.support import PASSWORD, a_name, login, register
from tests.told import records

NEW = "a new password"
FORMS = (
    "/auth/forgot",
    "/auth/reset",
    "/auth/confirm",
    "/auth/invitation",
    "/auth/registration",
    "/auth/account/email",
)


async def post(auth: httpx.AsyncClient, path: str, **form: str) -> httpx.Response:
    return await auth.post(path, data=form, headers=OURS)


def token_in(page: httpx.Response) -> str:
    found = re.search(r'name="token" value="([^"]+)"', page.text)
    assert found is not None, page.text
    return found[1]


async def test_forgotten_password_is_set_on_the_page_of_the_link_A4(
    mailbox: Mailbox, auth: httpx.AsyncClient
) -> None:
    email = (await register(auth))["user"]["email"]
    known = await post(auth, "/auth/forgot", email=email)
    unknown = await post(auth, "/auth/forgot", email="stranger@example.com")
    await mailbox.after_requests()
    link = mailbox.link(email, "reset_password")
    page = await auth.get(link)
    again = await auth.get(link)  # as an e-mail scanner does

    assert known.status_code == unknown.status_code == 200
    assert known.text.replace(email, "") == unknown.text.replace("stranger@example.com", "")
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"
    assert email in page.text
    form = {"token": token_in(again), "new_password": "short"}
    refused = await post(auth, "/auth/reset", **form)
    assert (refused.status_code, "must have at least 8 characters" in refused.text) == (422, True)
    named = await post(auth, "/auth/reset", **form | {"new_password": email})
    assert "The password must not be the e-mail address" in named.text
    done = await post(auth, "/auth/reset", **form | {"new_password": NEW})
    assert (done.status_code, "Your password is set" in done.text) == (200, True)
    assert "session" not in auth.cookies
    late = await post(auth, "/auth/reset", **form | {"new_password": NEW})
    assert (late.status_code, "This link does not work" in late.text) == (400, True)
    assert (await login(auth, email, NEW)).status_code == 200


async def test_address_is_confirmed_by_the_button_and_not_by_opening_the_link_A5(
    mailbox: Mailbox, auth: httpx.AsyncClient
) -> None:
    ann = await register(auth)
    email = ann["user"]["email"]
    link = mailbox.link(email, "verify_email")
    stranger = await auth.get(link)
    sent = await post(auth, "/auth/confirm", token=link.partition("=")[2])
    after = parse_qs(urlsplit(re.findall(r'href="(/auth/signin[^"]+)"', stranger.text)[0]).query)["next"][0]
    arrived = await sign_in(auth, email, after=after)
    token = token_in(await auth.get(arrived.headers["location"]))
    before = (await auth.get("/auth/me", headers=bearer(ann["token"]))).json()
    done = await post(auth, "/auth/confirm", token=token)
    after = (await auth.get("/auth/me", headers=bearer(ann["token"]))).json()

    assert "removes what anyone else has attached" in stranger.text
    assert (sent.status_code, sent.headers["location"], arrived.headers["location"]) == (303, link, link)
    assert (before["email_verified"], done.status_code, after["email_verified"]) == (False, 200, True)
    assert '<a class="btn wide" href="/auth/account">Your account</a>' in done.text
    for response in (await auth.get(link), await post(auth, "/auth/confirm", token=token)):
        assert (response.status_code, "This link does not work" in response.text) == (400, True)


async def test_signed_in_person_changes_their_address_on_the_page(
    mailbox: Mailbox, auth: httpx.AsyncClient, clock: StoppedClock
) -> None:
    path, new = "/auth/account/email", f"{a_name()}@example.com"
    form = {"email": new, "current_password": PASSWORD}
    for nobody in (await auth.get(path), await post(auth, path, **form)):
        after = "/auth/signin?next=%2Fauth%2Faccount%2Femail"
        assert (nobody.status_code, nobody.headers["location"]) == (303, after)
    user = await signed_in_browser(auth)
    page = await auth.get(path)
    wrong = await post(auth, path, **form | {"current_password": "wrong"})
    bad = await post(auth, path, **form | {"email": "no address"})
    done = await post(auth, path, **form)

    assert user["email"] in page.text
    assert (wrong.status_code, "The current password is wrong" in wrong.text) == (403, True)
    assert (bad.status_code, "must be an e-mail address" in bad.text) == (422, True)
    assert (done.status_code, new in done.text) == (200, True)
    token = token_in(await auth.get(mailbox.link(new, "change_email")))
    assert (await post(auth, "/auth/confirm", token=token)).status_code == 200
    assert (await sign_in(auth, new)).status_code == 303


async def test_invitation_is_accepted_on_its_page(mailbox: Mailbox, auth: httpx.AsyncClient) -> None:
    email, name = f"{a_name()}@example.com", a_name()
    headers = bearer(await admin_token(auth))
    assert (await auth.post("/auth/invitations", json={"email": email}, headers=headers)).status_code == 201
    link = mailbox.link(email, "invitation")
    form = {"token": token_in(await auth.get(link)), "username": "admin", "password": PASSWORD}
    taken = await post(auth, "/auth/invitation", **form)
    done = await post(auth, "/auth/invitation", **form | {"username": name})

    assert (taken.status_code, "This username is already taken" in taken.text) == (409, True)
    assert 'value="admin"' in taken.text
    assert (done.status_code, "Your account is ready" in done.text) == (200, True)
    assert (await login(auth, name)).status_code == 200
    assert (await auth.get(link)).status_code == 400


async def test_registration_on_the_page_signs_in(mailbox: Mailbox, auth: httpx.AsyncClient) -> None:
    email = f"{a_name()}@example.com"
    bad = await post(auth, "/auth/registration", email=email, password=email)
    done = await post(auth, "/auth/registration", email=email, password=PASSWORD, username="")
    again = await post(auth, "/auth/registration", email=email, password=PASSWORD)

    assert (bad.status_code, "must not be the e-mail address" in bad.text) == (422, True)
    assert (done.status_code, done.headers["location"]) == (303, "/auth/signin")
    assert email in (await auth.get("/auth/signin")).text
    assert again.status_code == 409
    assert len(mailbox.mails(email, "verify_email")) == 1


async def test_registration_on_the_way_to_an_app_leads_back_to_it(auth: httpx.AsyncClient) -> None:
    after, email = "/oauth/authorize?client_id=a&state=%3Fx", f"{a_name()}@example.com"
    asked = await auth.get("/auth/signin", params={"next": after})
    link = re.search(r'<a href="(/auth/registration[^"]*)"', asked.text)
    assert link is not None
    page = await auth.get(unescape(link[1]))
    bad = await post(auth, "/auth/registration", email=email, password=email, next=field(page, "next"))
    done = await post(auth, "/auth/registration", email=email, password=PASSWORD, next=field(bad, "next"))
    stranger = {"email": f"{a_name()}@example.com", "password": PASSWORD, "next": "https://evil.example/"}

    assert (field(page, "next"), done.headers["location"]) == (after, after)
    assert "/auth/signin?next=%2Foauth" in page.text.replace("/oauth", "%2Foauth")
    assert (await post(auth, "/auth/registration", **stranger)).headers["location"] == "/auth/signin"


async def test_forms_name_the_configured_minimum_length_of_passwords(
    make_auth_settings: Callable[..., Settings],
) -> None:
    async with running(create_app, make_auth_settings(password_min=15)) as auth:
        assert "At least 15 characters." in (await auth.get("/auth/registration")).text


async def test_registration_on_the_page_reveals_no_address_if_confirmation_comes_first(
    mailbox: Mailbox, make_auth_settings: Callable[..., Settings]
) -> None:
    async with running(create_app, make_auth_settings(registration="verified")) as auth:
        pages = [
            await post(auth, "/auth/registration", email=email, password=PASSWORD)
            for email in ("admin@example.com", "ann@example.com")
        ]
        await mailbox.after_requests()
        token = token_in(await auth.get(mailbox.link("ann@example.com", "confirm_registration")))
        made = await post(auth, "/auth/confirm", token=token)

        assert [page.status_code for page in pages] == [200, 200]
        assert pages[0].text.replace("admin@", "ann@") == pages[1].text
        assert made.status_code == 200
        assert (await login(auth, "ann@example.com")).status_code == 200


async def test_registration_that_is_confirmed_first_leads_back_to_the_app(
    mailbox: Mailbox, make_auth_settings: Callable[..., Settings]
) -> None:
    after, foreign = "/oauth/authorize?client_id=a&state=%3Fx", "https://evil.example/"
    async with running(create_app, make_auth_settings(registration="verified")) as auth:
        for email, asked, wanted in (("ann@example.com", after, [after]), ("bob@example.com", foreign, [])):
            sent = await post(auth, "/auth/registration", email=email, password=PASSWORD, next=asked)
            await mailbox.after_requests()
            token = token_in(await auth.get(mailbox.link(email, "confirm_registration")))
            made = await post(auth, "/auth/confirm", token=token)
            for page in (sent, made):
                (link,) = re.findall(r'href="(/auth/signin[^"]*)"', page.text)
                assert parse_qs(urlsplit(unescape(link)).query).get("next", []) == wanted
        arrived = await sign_in(auth, "ann@example.com", after=after)

        assert (arrived.status_code, arrived.headers["location"]) == (303, after)


async def test_closed_registration_is_neither_shown_nor_offered(
    make_auth_settings: Callable[..., Settings],
) -> None:
    async with running(create_app, make_auth_settings(registration="closed")) as auth:
        shown = await auth.get("/auth/registration")
        sent = await post(auth, "/auth/registration", email="ann@example.com", password=PASSWORD)

        assert "Registration is closed" in shown.text
        assert sent.status_code == 403
        assert "/auth/registration" not in (await auth.get("/auth/signin")).text


@pytest.mark.parametrize("path", FORMS)
async def test_form_of_another_site_is_refused(auth: httpx.AsyncClient, path: str) -> None:
    for headers in ({}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        refused = await auth.post(path, data={"email": "a@example.com"}, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "foreign_form")


@pytest.mark.parametrize("path", FORMS)
async def test_invalid_input_gets_a_page_or_a_problem_and_never_a_server_error(
    auth: httpx.AsyncClient, path: str
) -> None:
    much = "&".join(f"a{number}=1" for number in range(200))
    for query in ("", "?token=", "?token=%00", "?token=%ff", f"?token={'x' * 5000}", f"?{much}"):
        assert (await auth.get(f"{path}{query}")).status_code in (200, 303, 400)
    for body in ("", "token=%00&email=%00", "email=%ff%fe", much, "password=x&token=x", "a" * 70_000):
        sent = await auth.post(
            path, content=body, headers=OURS | {"Content-Type": "application/x-www-form-urlencoded"}
        )
        assert 300 < sent.status_code < 500


async def test_throttled_page_says_when_to_try_again(
    mailbox: Mailbox, auth: httpx.AsyncClient, clock: StoppedClock
) -> None:
    for number in range(20):
        await post(auth, "/auth/forgot", email=f"{number}@example.com")
    refused = await post(auth, "/auth/forgot", email="one-more@example.com")

    assert (refused.status_code, refused.headers["retry-after"]) == (429, "180")
    assert "Too many attempts" in refused.text


async def test_pages_record_their_actions(
    mailbox: Mailbox, auth: httpx.AsyncClient, database_url: str
) -> None:
    email = f"{a_name()}@example.com"
    await post(auth, "/auth/registration", email=email, password=PASSWORD)
    await post(auth, "/auth/confirm", token=urlsplit(mailbox.link(email, "verify_email")).query[6:])
    told = [(one["action"], one["status"], one["outcome"]) for one in records(database_url, EVENTS)]

    assert told == [("REGISTER", 200, "success"), ("CONFIRM_EMAIL", 200, "success")]
