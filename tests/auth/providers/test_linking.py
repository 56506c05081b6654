"""Which account a provider's user gets, and connecting providers by hand."""

import re
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from services.auth.models import EVENTS, Account, Consent, Factor, KnownDevice
from services.auth.provider_models import Identity, PendingSignIn
from shared.ids import new_id
from shared.testing import bearer, internal_token
from tests.auth.mailbox import Mailbox
from tests.auth.oauth.support import OURS, admin_token, sign_in, signed_in_browser
from tests.auth.providers.double import Double
from tests.auth.providers.support import (
    ANN,
    PAGE,
    arrive,
    begin,
    callback_of,
    come_back,
    confirm_address,
    refused,
    who,
)
from tests.auth.support import PASSWORD, login, refresh, register, rows
from tests.auth.test_factors import Clock, codes, enrolled
from tests.auth.test_step_up import later
from tests.told import records

__all__ = ["codes"]  # a fixture
MINE, CONNECTED = "/auth/me/identities", "/auth/account/providers"
GMAIL = {"email": "ann@gmail.com"}
EXISTS = (409, "account_exists", "account_exists")


async def connect(
    auth: httpx.AsyncClient, double: Double, headers: dict[str, str], name: str = "acme", **person: Any
) -> httpx.Response:
    """Connect a provider account through the API."""
    sent = await auth.post(MINE, json={"provider": name}, headers=headers)
    assert sent.status_code == 200, sent.text
    return await come_back(auth, double.consent(sent.json()["url"], **{**ANN, **person}), name)


async def press(auth: httpx.AsyncClient, **form: str) -> httpx.Response:
    return await auth.post(CONNECTED, data=form, headers=OURS)


async def test_verified_address_of_a_trusted_provider_links_to_a_verified_account_A7(
    mailbox: Mailbox, auth: httpx.AsyncClient, double: Double, database_url: str
) -> None:
    user = (await register(auth, **GMAIL))["user"]
    confirm_address(database_url, "ann@gmail.com")
    arrived = await arrive(auth, double, "google", **GMAIL)

    assert arrived.status_code == 303
    assert rows(database_url, Identity)[0]["account_id"] == user["id"]
    assert (await login(auth, "ann@gmail.com")).status_code == 200  # the password still works
    assert len(mailbox.mails("ann@gmail.com", "provider_connected")) == 1
    (told,) = [one for one in records(database_url, EVENTS) if one["action"] == "SIGN_IN_WITH_PROVIDER"]
    assert told["metadata"]["account"] == "linked"


@pytest.mark.parametrize(
    ("name", "person"),
    [
        ("acme", {}),  # which the operator does not trust with addresses
        ("google", {}),  # which is trusted only for its own domains
        ("google", {"email_verified": False, "hd": "example.com"}),
    ],
    ids=["not trusted", "not authoritative", "not verified"],
)
async def test_address_alone_gives_no_access_to_an_account_with_a_password_A7(
    auth: httpx.AsyncClient, double: Double, database_url: str, name: str, person: dict[str, Any]
) -> None:
    await register(auth, email="ann@example.com")
    confirm_address(database_url, "ann@example.com")
    status, code, _ = await refused(arrive(auth, double, name, **person))

    is_unverified = person.get("email_verified") is False
    assert (status, code) == ((403, "email_not_verified") if is_unverified else EXISTS[:2])
    assert rows(database_url, Identity) == []
    assert await who(auth) is None


async def test_squatter_loses_password_sessions_factors_keys_and_identities_A7(
    auth: httpx.AsyncClient, double: Double, codes: Clock, database_url: str
) -> None:
    squatter = await enrolled(auth, codes)
    session = await register(auth, email="other@example.com")
    tokens = (await auth.post("/auth/me/tokens", json=KEY, headers=squatter.headers)).json()
    assert (await connect(auth, double, squatter.headers, sub="squatter")).status_code == 303
    auth.cookies.clear()
    arrived = await arrive(auth, double, "google", email=squatter.email, hd="example.com")

    assert (arrived.status_code, await who(auth)) == (303, squatter.email)
    (account,) = [one for one in rows(database_url, Account) if one["id"] == squatter.id]
    assert account["password_hash"] is None
    assert account["verified"] is not None
    assert [one["subject"] for one in rows(database_url, Identity)] == ["ann"]
    assert rows(database_url, Factor) == []
    assert [one for one in rows(database_url, Consent) if one["account_id"] == squatter.id] == []
    devices = [one for one in rows(database_url, KnownDevice) if one["account_id"] == squatter.id]
    assert len(devices) == 1
    assert (await auth.get("/auth/me", headers=squatter.headers)).status_code == 401
    exchanged = await auth.post("/internal/exchange", json={"credential": tokens["token"]}, headers=INTERNAL)
    assert exchanged.status_code == 404
    assert (await login(auth, squatter.email)).status_code == 401
    assert (await refresh(auth, session["refresh_token"])).status_code == 200  # another account's
    auth.cookies.clear()
    again = await refused(arrive(auth, double, sub="squatter", email="x@example.com", email_verified=False))
    assert again[1] == "email_not_verified"


KEY = {"name": "key", "scopes": ["orders:read"]}
INTERNAL = bearer(internal_token("auth", issuer="gateway"))


async def test_account_of_an_admin_is_connected_only_by_hand(
    auth: httpx.AsyncClient, double: Double, database_url: str
) -> None:
    admin = {"email": "admin@example.com", "hd": "example.com"}
    assert await refused(arrive(auth, double, "google", **admin)) == EXISTS
    confirm_address(database_url, "admin@example.com")
    assert await refused(arrive(auth, double, "google", **admin)) == EXISTS
    headers = bearer(await admin_token(auth))

    assert (await connect(auth, double, headers, "google", **admin)).status_code == 303
    assert (await arrive(auth, double, "google", **admin)).status_code == 303
    assert await who(auth) == "admin@example.com"


async def test_connected_account_signs_in_whatever_its_address(
    mailbox: Mailbox, auth: httpx.AsyncClient, double: Double, database_url: str
) -> None:
    ann = await register(auth)
    headers = bearer(ann["token"])
    back = await connect(auth, double, headers, email="else@example.net", email_verified=False)
    listed = (await auth.get(MINE, headers=headers)).json()
    arrived = await arrive(auth, double, email="else@example.net", email_verified=False)

    assert (back.status_code, back.headers["location"]) == (303, CONNECTED)
    assert [(one["provider"], one["email"]) for one in listed] == [("acme", "else@example.net")]
    assert arrived.status_code == 303
    assert await who(auth) == ann["user"]["email"]
    assert len(mailbox.mails(ann["user"]["email"], "provider_connected")) == 1
    told = [one for one in records(database_url, EVENTS) if one["user_id"] == ann["user"]["id"]]
    assert "connected" in [one["metadata"].get("account") for one in told]
    again = await connect(auth, double, headers, email="else@example.net")
    assert again.status_code == 303
    assert len(rows(database_url, Identity)) == 1


async def test_identity_of_another_account_is_not_taken_over(
    auth: httpx.AsyncClient, double: Double, database_url: str
) -> None:
    ann, bob = await register(auth), await register(auth)
    await connect(auth, double, bearer(ann["token"]))
    taken = await refused(connect(auth, double, bearer(bob["token"])))

    assert taken == (409, "identity_taken", "identity_taken")
    (identity,) = rows(database_url, Identity)
    assert identity["account_id"] == ann["user"]["id"]


async def test_connecting_requires_the_requesting_session_to_be_alive(
    auth: httpx.AsyncClient, double: Double, database_url: str
) -> None:
    ann = await register(auth)
    sent = await auth.post(MINE, json={"provider": "acme"}, headers=bearer(ann["token"]))
    await auth.post("/auth/logout", json={"refresh_token": ann["refresh_token"]})
    query = double.consent(sent.json()["url"], **ANN)

    assert await refused(come_back(auth, query)) == (400, "invalid_state", "session_ended")
    assert rows(database_url, Identity) == []


async def test_connecting_works_only_in_the_browser_that_requested_it(
    auth: httpx.AsyncClient, double: Double, database_url: str
) -> None:
    """So no one can be tricked into connecting their identity to another person's account."""
    attacker = await register(auth)
    sent = await auth.post(MINE, json={"provider": "acme"}, headers=bearer(attacker["token"]))
    query = double.consent(sent.json()["url"], **ANN)
    auth.cookies.clear()  # the browser of the victim

    assert (await refused(come_back(auth, query)))[2] == "state_of_another_browser"
    assert rows(database_url, Identity) == []


async def test_connecting_and_disconnecting_require_a_recent_sign_in_of_a_person(
    auth: httpx.AsyncClient, double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await register(auth)
    headers = bearer(ann["token"])
    await connect(auth, double, headers)
    (identity,) = (await auth.get(MINE, headers=headers)).json()
    for wrong in ({}, {"provider": "x" * 33}, {"provider": "acme", "more": 1}, {"provider": 1}):
        assert (await auth.post(MINE, json=wrong, headers=headers)).status_code == 422
    assert (await auth.post(MINE, json={"provider": "nobody"}, headers=headers)).status_code == 404
    for work in (auth.get(MINE), auth.post(MINE, json={}), auth.delete(f"{MINE}/{identity['id']}")):
        assert (await work).status_code == 401
    later(monkeypatch, 15 * 60 + 60)
    again = (
        await auth.post(MINE, json={"provider": "google"}, headers=headers),
        await auth.delete(f"{MINE}/{identity['id']}", headers=headers),
    )
    assert {(one.status_code, one.json()["code"]) for one in again} == {
        (401, "insufficient_user_authentication")
    }


async def test_disconnected_identity_no_longer_signs_in(
    mailbox: Mailbox, auth: httpx.AsyncClient, double: Double
) -> None:
    ann, bob = await register(auth), await register(auth)
    headers = bearer(ann["token"])
    await connect(auth, double, headers, email=ann["user"]["email"])
    (identity,) = (await auth.get(MINE, headers=headers)).json()
    path = f"{MINE}/{identity['id']}"

    assert (await auth.delete(path, headers=bearer(bob["token"]))).status_code == 404
    assert (await auth.delete(f"{MINE}/{new_id()}", headers=headers)).status_code == 404
    assert (await auth.delete(f"{MINE}/x", headers=headers)).status_code == 422
    assert (await auth.delete(path, headers=headers)).status_code == 204
    assert (await auth.delete(path, headers=headers)).status_code == 404
    assert await refused(arrive(auth, double, email=ann["user"]["email"])) == EXISTS
    assert len(mailbox.mails(ann["user"]["email"], "provider_disconnected")) == 1


async def test_last_way_to_sign_in_cannot_be_removed(auth: httpx.AsyncClient, double: Double) -> None:
    await arrive(auth, double)
    page = await auth.get(CONNECTED)
    found = re.search(r'name="disconnect" value="([^"]+)"', page.text)
    assert found is not None
    kept = await press(auth, disconnect=found[1])
    sent = await press(auth, connect="google")
    google = double.consent(sent.headers["location"], sub="g", email="a@gmail.com")
    assert (await come_back(auth, google, "google")).headers["location"] == CONNECTED
    gone = await press(auth, disconnect=found[1])

    assert (kept.status_code, "no way left to sign in" in kept.text) == (409, True)
    assert (gone.status_code, gone.headers["location"]) == (303, f"{CONNECTED}?done=provider")


async def test_page_connects_and_disconnects(
    auth: httpx.AsyncClient, double: Double, database_url: str
) -> None:
    first = f"/auth/signin?{urlencode({'next': CONNECTED})}"
    assert (await auth.get(CONNECTED)).headers["location"] == first
    assert (await press(auth, connect="acme")).headers["location"] == first
    user = await signed_in_browser(auth)
    before = await auth.get(CONNECTED, headers=PAGE)
    sent = await press(auth, connect="acme")
    back = await come_back(auth, double.consent(sent.headers["location"], **ANN), headers=PAGE)
    after = await auth.get(CONNECTED)

    assert 'value="acme" aria-label="Connect Acme"' in before.text
    assert back.headers["location"] == CONNECTED
    assert "ann@example.com" in after.text
    assert 'aria-label="Connect Acme"' not in after.text
    assert 'aria-label="Disconnect Acme, ann@example.com"' in after.text
    assert rows(database_url, Identity)[0]["account_id"] == user["id"]
    identity_id = rows(database_url, Identity)[0]["id"]
    foreign = await auth.post(CONNECTED, data={"disconnect": identity_id})
    assert (foreign.status_code, foreign.json()["code"]) == (403, "foreign_form")
    assert (await press(auth, connect="nobody")).status_code == 404
    assert (await press(auth, disconnect=new_id())).status_code == 404
    assert (await press(auth, disconnect=identity_id)).status_code == 303
    assert rows(database_url, Identity) == []
    assert rows(database_url, PendingSignIn) == []


async def test_deleted_account_keeps_no_identity(
    auth: httpx.AsyncClient, double: Double, database_url: str
) -> None:
    await arrive(auth, double)
    (identity,) = rows(database_url, Identity)
    path = f"/internal/accounts/{identity['account_id']}"
    assert (await auth.delete(path, headers=INTERNAL)).status_code == 204

    assert rows(database_url, Identity) == []
    auth.cookies.clear()
    assert (await arrive(auth, double)).status_code == 303
    assert rows(database_url, Identity)[0]["account_id"] != identity["account_id"]


async def test_account_without_password_sets_one_by_mail(
    mailbox: Mailbox, auth: httpx.AsyncClient, double: Double
) -> None:
    await arrive(auth, double)
    await auth.post("/auth/password/forgot", json={"email": "ann@example.com"})
    await mailbox.after_requests()
    body = {"token": mailbox.token("ann@example.com", "reset_password"), "new_password": PASSWORD}

    assert (await auth.post("/auth/password/reset", json=body)).status_code == 204
    assert (await sign_in(auth, "ann@example.com")).status_code == 303


async def test_short_callback_belongs_to_one_provider(auth: httpx.AsyncClient, double: Double) -> None:
    query = double.consent(await begin(auth, "google"), **GMAIL, sub="g", email_verified=True)

    assert callback_of("google") == "/auth/callback"
    assert (await auth.get("/auth/callback/google", params=query)).status_code == 404
    assert (await come_back(auth, query, "google")).status_code == 303
