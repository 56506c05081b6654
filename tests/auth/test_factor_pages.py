"""Second factors on the pages: an authenticator app, passkeys, and both after a password."""

import json
import re

import httpx
import pyotp
import pytest

from services.auth.factors import totp
from services.auth.models import EVENTS, RecoveryCode
from services.auth.passkey_models import Passkey
from tests.auth.authenticator import Authenticator
from tests.auth.browser import ACCOUNT, add_passkey, codes_of, field, post, shown
from tests.auth.conftest import StoppedClock
from tests.auth.mailbox import Mailbox
from tests.auth.oauth.support import sign_in, signed_in_browser
from tests.auth.support import PASSWORD, rows
from tests.auth.test_factors import Clock
from tests.auth.test_step_up import later
from tests.told import records

APP, KEYS = f"{ACCOUNT}/totp", f"{ACCOUNT}/passkeys"


@pytest.fixture
def codes(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(totp, "time", clock)
    return clock


def secret_of(page: httpx.Response) -> str:
    found = re.search(r'<code class="box secret">([A-Z2-7]{32})</code>', page.text)
    assert found is not None, page.text
    return found[1]


async def test_app_is_set_up_required_at_sign_in_and_removed(
    mailbox: Mailbox, auth: httpx.AsyncClient, codes: Clock, clock: StoppedClock
) -> None:
    user = await signed_in_browser(auth)
    refused = await post(auth, APP, current_password="wrong")
    page = await post(auth, APP, current_password=PASSWORD)
    secret = secret_of(page)
    wrong = await post(auth, f"{APP}/confirm", code="000000")
    code = pyotp.TOTP(secret).at(int(codes.now))
    done = await post(auth, f"{APP}/confirm", code=f"{code[:3]} {code[3:]}")

    assert (refused.status_code, "The current password is wrong" in refused.text) == (403, True)
    assert re.search(r'<svg [^>]*viewBox="0 0 \d+ \d+" class="segno">', page.text)  # it can be resized
    assert (wrong.status_code, secret_of(wrong)) == (401, secret)
    assert "The code is wrong" in wrong.text
    assert len(set(codes_of(done))) == 10
    assert "On. Its code is asked for" in (await auth.get(f"{ACCOUNT}/security")).text
    assert "Your recovery codes" not in (await auth.get(APP)).text
    assert (await post(auth, f"{APP}/confirm", code=code)).headers["location"] == APP  # sent twice
    asked = await sign_in(auth, user["email"])
    assert "Use a passkey" not in asked.text
    form = {"mfa_token": field(asked, "mfa_token"), "code": codes_of(done)[0]}
    assert (await post(auth, "/auth/signin/code", **form)).status_code == 303
    removed = await post(auth, f"{APP}/remove", current_password=PASSWORD)
    assert removed.headers["location"] == f"{ACCOUNT}/security?done=totp"
    assert (await post(auth, f"{APP}/remove", current_password=PASSWORD)).status_code == 409
    assert (await sign_in(auth, user["email"])).status_code == 303
    assert [len(mailbox.mails(user["email"], f"factor_{what}")) for what in ("added", "removed")] == [1, 1]


async def test_app_is_changed_only_after_a_recent_sign_in(
    auth: httpx.AsyncClient, codes: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong code shows the secret again, so a stolen cookie must not get that far."""
    await signed_in_browser(auth)
    secret = secret_of(await post(auth, APP, current_password=PASSWORD))
    later(monkeypatch, 16 * 60)
    forms = {
        "": {"current_password": PASSWORD},
        "/confirm": {"code": "000000"},
        "/remove": {"current_password": PASSWORD},
    }
    for path, form in forms.items():
        response = await post(auth, APP + path, **form)

        assert response.headers["location"].startswith("/auth/step-up?")
        assert secret not in response.text


async def test_passkey_is_added_signs_in_and_is_removed(
    mailbox: Mailbox, auth: httpx.AsyncClient, database_url: str
) -> None:
    user, device = await signed_in_browser(auth), Authenticator()
    first = await add_passkey(auth, device)
    second = await add_passkey(auth, Authenticator(), "Key <1>")
    page = await auth.get(KEYS)

    assert len(set(codes_of(first))) == 10
    assert second.headers["location"] == f"{KEYS}?done=passkey"
    assert ("Phone" in page.text, "Key &lt;1&gt;" in page.text) == (True, True)
    await post(auth, "/auth/signout")
    forged = await post(auth, "/auth/signin/passkey", credential=await shown(auth, Authenticator()))
    assert (forged.status_code, "The passkey is unknown here" in forged.text) == (401, True)
    for credential in ("", "{", "[]", "null", '"x"'):
        assert (await post(auth, "/auth/signin/passkey", credential=credential)).status_code == 401
    signed_in = await post(auth, "/auth/signin/passkey", credential=await shown(auth, device), next=KEYS)
    assert signed_in.headers["location"] == KEYS
    for _ in range(2):
        listed = await auth.get(KEYS)
        removed = await post(auth, f"{KEYS}/remove", passkey_id=field(listed, "passkey_id"))
        assert removed.headers["location"] == f"{KEYS}?done=removed"
    assert "No passkeys" in (await auth.get(KEYS)).text
    assert (rows(database_url, Passkey), rows(database_url, RecoveryCode)) == ([], [])
    assert (await sign_in(auth, user["email"])).status_code == 303
    told = [(one["action"], one["status"]) for one in records(database_url, EVENTS)]
    assert told.count(("ADD_PASSKEY", 200)) == 2
    assert told.count(("REMOVE_PASSKEY", 200)) == 2
    assert told.count(("SIGN_IN_WITH_PASSKEY", 200)) == 1


async def test_passkey_is_required_after_the_password(auth: httpx.AsyncClient, clock: StoppedClock) -> None:
    user, device, stranger = await signed_in_browser(auth), Authenticator(), Authenticator()
    await add_passkey(auth, stranger)
    await post(auth, "/auth/signout")
    user = await signed_in_browser(auth)
    first = await add_passkey(auth, device)
    asked = await sign_in(auth, user["email"])
    token = field(asked, "mfa_token")

    assert "Show your second factor" in asked.text
    foreign = {"mfa_token": token, "credential": await shown(auth, stranger)}
    refused = await post(auth, "/auth/signin/code", **foreign)
    assert (refused.status_code, "belongs to another account" in refused.text) == (401, True)
    right = {"mfa_token": token, "credential": await shown(auth, device), "next": KEYS}
    assert (await post(auth, "/auth/signin/code", **right)).headers["location"] == KEYS
    again = await post(auth, "/auth/signin/code", **right)
    assert (again.status_code, "Sign in again" in again.text) == (401, True)
    asked = await sign_in(auth, user["email"])
    recovery = {"mfa_token": field(asked, "mfa_token"), "code": codes_of(first)[0]}
    assert (await post(auth, "/auth/signin/code", **recovery)).status_code == 303


async def test_removing_the_app_keeps_the_recovery_codes_for_passkeys(
    auth: httpx.AsyncClient, codes: Clock, database_url: str
) -> None:
    await signed_in_browser(auth)
    assert codes_of(await add_passkey(auth, Authenticator())) != []
    secret = secret_of(await post(auth, APP, current_password=PASSWORD))
    await post(auth, f"{APP}/confirm", code=pyotp.TOTP(secret).at(int(codes.now)))
    await post(auth, f"{APP}/remove", current_password=PASSWORD)

    assert len(rows(database_url, RecoveryCode)) == 10


async def test_old_sign_in_is_redirected_to_the_step_up_page(
    auth: httpx.AsyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await signed_in_browser(auth)
    await add_passkey(auth, device := Authenticator())
    (passkey,) = rows(database_url, Passkey)
    later(monkeypatch, 16 * 60)
    forms = {
        KEYS: {"name": "x"},
        f"{KEYS}/add": {"name": "x", "credential": "{}"},
        f"{KEYS}/remove": {"passkey_id": passkey["id"]},
        f"{ACCOUNT}/tokens": {"name": "x", "scope account:read": "on"},
        f"{ACCOUNT}/delete": {"current_password": PASSWORD},
    }
    for path, form in forms.items():
        page = re.sub(r"/(add|remove)$", "", path).replace("/", "%2F")
        sent = await post(auth, path, **form)
        assert (sent.status_code, sent.headers["location"]) == (303, f"/auth/step-up?next={page}")
    assert len(rows(database_url, Passkey)) == 1
    monkeypatch.undo()
    credential = json.dumps(device.sign((await auth.post("/auth/passkeys/options")).json()))
    done = await post(auth, "/auth/step-up", next=KEYS, credential=credential)
    assert done.headers["location"] == KEYS
    gone = await post(auth, f"{KEYS}/remove", passkey_id=passkey["id"])
    assert gone.headers["location"] == f"{KEYS}?done=removed"
