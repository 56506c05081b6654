"""Passkeys: added to an account, and used to sign in."""

import asyncio
import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

import httpx
import jwt
import pytest
from sqlalchemy import update

from services.auth.app import create_app
from services.auth.models import EVENTS, PASSKEYS
from services.auth.passkey_models import Passkey, PasskeyChallenge
from services.auth.passkeys.site import PasskeySite, passkey_site
from services.auth.settings import Settings
from shared.data.database import Database
from shared.testing import bearer, internal_token, running
from tests.auth.authenticator import PRESENT, VERIFIED, Authenticator, encoded
from tests.auth.browser import post
from tests.auth.conftest import StoppedClock
from tests.auth.mailbox import Mailbox
from tests.auth.oauth.support import admin_token
from tests.auth.support import PASSWORD, let_time_pass, login, register, rows, set_account
from tests.auth.test_step_up import later
from tests.told import records

MINE = "/auth/me/passkeys"


async def options(auth: httpx.AsyncClient, headers: dict[str, str] | None = None) -> dict[str, Any]:
    path = "/auth/passkeys/options" if headers is None else f"{MINE}/options"
    response = await auth.post(path, headers=headers)
    assert response.status_code == 200, response.text
    told: dict[str, Any] = response.json()
    return told


async def add(
    auth: httpx.AsyncClient, headers: dict[str, str], device: Authenticator, name: str = "Phone"
) -> httpx.Response:
    body = {"name": name, "credential": device.make(await options(auth, headers))}
    return await auth.post(MINE, json=body, headers=headers)


async def show(auth: httpx.AsyncClient, credential: dict[str, Any]) -> httpx.Response:
    return await auth.post("/auth/passkeys/sign-in", json={"credential": credential})


@pytest.fixture
async def person(auth: httpx.AsyncClient) -> dict[str, Any]:
    return await register(auth, username="ann")


@pytest.mark.conforms("WebAuthn 7.2")
async def test_passkey_signs_in_as_two_factors(
    mailbox: Mailbox, auth: httpx.AsyncClient, database_url: str
) -> None:
    ann, device = await register(auth), Authenticator()
    headers = bearer(ann["token"])
    asked = await options(auth, headers)
    added = await add(auth, headers, device)
    signed_in = await show(auth, device.sign(await options(auth)))
    claims = jwt.decode(signed_in.json()["token"], options={"verify_signature": False})

    assert asked["rp"] == {"name": "Gatehouse", "id": "localhost"}
    assert asked["authenticatorSelection"]["userVerification"] == "required"
    assert (added.status_code, added.json()["name"], added.json()["used"]) == (201, "Phone", None)
    assert signed_in.status_code == 200
    assert signed_in.json()["user"]["id"] == ann["user"]["id"]
    assert (claims["acr"], claims["amr"]) == ("2", ["hwk"])
    (listed,) = (await auth.get(MINE, headers=headers)).json()
    assert listed["id"] == added.json()["id"]
    assert listed["used"] is not None
    assert len(mailbox.mails(ann["user"]["email"], "factor_added")) == 1
    told = [(one["action"], one["user_id"]) for one in records(database_url, EVENTS)]
    assert ("ADD_PASSKEY", ann["user"]["id"]) in told
    assert ("SIGN_IN_WITH_PASSKEY", ann["user"]["id"]) in told


async def test_one_of_twenty_concurrent_uses_of_a_signature_succeeds(
    auth: httpx.AsyncClient, person: dict[str, Any]
) -> None:
    device = Authenticator()
    await add(auth, bearer(person["token"]), device)
    credential = device.sign(await options(auth))
    responses = await asyncio.gather(*(show(auth, credential) for _ in range(20)))

    assert sorted(one.status_code for one in responses) == [200] + [401] * 19


@pytest.mark.conforms("WebAuthn 7.2")
async def test_every_invalid_signature_gets_the_same_refusal(
    auth: httpx.AsyncClient, person: dict[str, Any], database_url: str
) -> None:
    device, stranger = Authenticator(), Authenticator()
    headers = bearer(person["token"])
    await add(auth, headers, device)
    await show(auth, device.sign(await options(auth)))
    lies = []
    for name, value in (
        ("origin", "https://evil.example"),
        ("host", "evil.example"),
        ("flags", PRESENT),  # the person was not verified
        ("flags", 0),
        ("count", -1),  # the counter of a cloned device is behind
    ):
        before = getattr(device, name)
        setattr(device, name, value)
        lies.append(device.sign(await options(auth)))
        setattr(device, name, before)
    lies.append(stranger.sign(await options(auth)))
    lies.append(device.sign({"challenge": encoded(b"x" * 32)}))
    lies.append(device.sign(await options(auth, headers)))  # a challenge for adding a passkey
    late = device.sign(await options(auth))
    swapped = device.sign(await options(auth))
    swapped["response"]["signature"] = late["response"]["signature"]
    lies.append(swapped)
    for lie in lies:
        refused = await show(auth, lie)
        assert (refused.status_code, refused.json()["code"]) == (401, "invalid_credentials")
    let_time_pass(database_url, PasskeyChallenge, "expires", timedelta(minutes=5, seconds=1))
    assert (await show(auth, late)).status_code == 401


@pytest.mark.parametrize(
    "credential",
    [
        {},
        {"id": 7, "response": {"clientDataJSON": 7}},
        {"id": "x", "response": {"clientDataJSON": "e30"}},
        {"id": "x", "rawId": "x", "type": "public-key", "response": {"clientDataJSON": "!!"}},
        {"id": "x", "response": []},
    ],
)
async def test_malformed_credential_is_refused(
    auth: httpx.AsyncClient, person: dict[str, Any], credential: dict[str, Any]
) -> None:
    body = {"name": "Phone", "credential": credential}
    added = await auth.post(MINE, json=body, headers=bearer(person["token"]))

    assert (added.status_code, added.json()["code"]) == (400, "invalid_passkey")
    assert (await show(auth, credential)).status_code == 401
    for wrong in ({"credential": "x"}, {}, {"credential": credential, "more": 1}):
        assert (await auth.post("/auth/passkeys/sign-in", json=wrong)).status_code == 422


async def test_passkey_is_added_once_and_only_to_the_account_that_asked(
    auth: httpx.AsyncClient, person: dict[str, Any]
) -> None:
    device, other = Authenticator(), await register(auth)
    headers = bearer(person["token"])
    body = {"name": "Phone", "credential": device.make(await options(auth, headers))}

    stolen = await auth.post(MINE, json=body, headers=bearer(other["token"]))
    assert stolen.json()["code"] == "invalid_passkey"
    assert (await auth.post(MINE, json=body, headers=headers)).status_code == 201
    assert (await auth.post(MINE, json=body, headers=headers)).status_code == 400
    assert (await add(auth, bearer(other["token"]), device)).status_code == 400  # already registered
    device.flags = PRESENT
    device.credential_id = b"another"
    assert (await add(auth, headers, device)).status_code == 400
    assert len((await options(auth, headers))["excludeCredentials"]) == 1


async def test_passkeys_can_be_removed_and_are_deleted_with_the_account(
    mailbox: Mailbox, auth: httpx.AsyncClient, database_url: str
) -> None:
    ann, bob = await register(auth), await register(auth)
    first, second = Authenticator(), Authenticator()
    headers, internal = bearer(ann["token"]), bearer(internal_token("auth"))
    added = (await add(auth, headers, first)).json()
    await add(auth, headers, second)
    path = f"{MINE}/{added['id']}"

    assert (await auth.delete(path, headers=bearer(bob["token"]))).status_code == 404
    assert (await auth.delete(path)).status_code == 401
    assert (await auth.delete(path, headers=headers)).status_code == 204
    assert (await auth.delete(path, headers=headers)).status_code == 404
    assert (await show(auth, first.sign(await options(auth)))).status_code == 401
    assert (await show(auth, second.sign(await options(auth)))).status_code == 200
    assert len(mailbox.mails(ann["user"]["email"], "factor_removed")) == 1
    await auth.delete(f"/internal/accounts/{ann['user']['id']}", headers=internal)
    assert rows(database_url, Passkey) == []
    assert (await show(auth, second.sign(await options(auth)))).status_code == 401


async def test_reset_of_factors_removes_passkeys(auth: httpx.AsyncClient, person: dict[str, Any]) -> None:
    device, admin = Authenticator(), bearer(await admin_token(auth))
    await add(auth, bearer(person["token"]), device)
    path = f"/auth/accounts/{person['user']['id']}"
    before = (await auth.get(path, headers=admin)).json()["second_factors"]
    body = {"reason": "requested"}
    assert (await auth.post(f"{path}/reset-factors", json=body, headers=admin)).status_code == 204

    assert before == ["passkey"]
    assert (await show(auth, device.sign(await options(auth)))).status_code == 401


async def test_passkey_of_a_suspended_account_is_refused(
    auth: httpx.AsyncClient, person: dict[str, Any], database_url: str
) -> None:
    device = Authenticator()
    await add(auth, bearer(person["token"]), device)
    set_account(database_url, "ann", status="suspended")

    assert (await show(auth, device.sign(await options(auth)))).status_code == 401


async def test_adding_and_removing_a_passkey_require_a_recent_sign_in(
    auth: httpx.AsyncClient, person: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = bearer(person["token"])
    added = (await add(auth, headers, Authenticator())).json()
    later(monkeypatch, 16 * 60)
    refused = [
        await auth.post(f"{MINE}/options", headers=headers),
        await auth.delete(f"{MINE}/{added['id']}", headers=headers),
    ]

    assert {one.json()["code"] for one in refused} == {"insufficient_user_authentication"}
    assert (await auth.get(MINE, headers=headers)).status_code == 200


async def test_challenges_are_limited_per_network(auth: httpx.AsyncClient, clock: StoppedClock) -> None:
    found = [(await auth.post("/auth/passkeys/options")).status_code for _ in range(31)]

    assert found == [200] * 30 + [429]


async def test_failed_attempt_consumes_its_challenge(
    auth: httpx.AsyncClient, person: dict[str, Any], database_url: str
) -> None:
    device, headers = Authenticator(), bearer(person["token"])
    asked = await options(auth, headers)
    device.flags = PRESENT
    body = {"name": "Phone", "credential": device.make(asked)}
    assert (await auth.post(MINE, json=body, headers=headers)).status_code == 400
    device.flags = PRESENT | VERIFIED
    body["credential"] = device.make(asked)
    assert (await auth.post(MINE, json=body, headers=headers)).status_code == 400
    assert rows(database_url, PasskeyChallenge) == []

    await add(auth, headers, device)
    asked = await options(auth)
    device.flags = PRESENT
    assert (await show(auth, device.sign(asked))).status_code == 401
    device.flags = PRESENT | VERIFIED
    assert (await show(auth, device.sign(asked))).status_code == 401
    assert rows(database_url, PasskeyChallenge) == []
    assert (await show(auth, device.sign(await options(auth)))).status_code == 200


async def test_concurrent_additions_stay_within_the_limit(
    auth: httpx.AsyncClient, person: dict[str, Any], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.auth.passkeys.passkeys.PER_ACCOUNT_MAX", 3)
    headers = bearer(person["token"])
    bodies = [
        {"name": "Phone", "credential": Authenticator().make(await options(auth, headers))} for _ in range(12)
    ]
    responses = await asyncio.gather(*(auth.post(MINE, json=body, headers=headers) for body in bodies))

    assert sorted(one.status_code for one in responses) == [201] * 3 + [409] * 9
    assert len(rows(database_url, Passkey)) == 3
    assert (await auth.post(f"{MINE}/options", headers=headers)).json()["code"] == "too_many_passkeys"


async def test_password_alone_does_not_sign_in_once_a_passkey_is_added(
    auth: httpx.AsyncClient, person: dict[str, Any], clock: StoppedClock
) -> None:
    device, stranger, email = Authenticator(), Authenticator(), person["user"]["email"]
    codes = (await add(auth, bearer(person["token"]), device)).json()["recovery_codes"]
    second = (await add(auth, bearer(person["token"]), Authenticator())).json()["recovery_codes"]
    await add(auth, bearer((await register(auth))["token"]), stranger)
    asked = (await login(auth, email)).json()
    path, form = "/auth/mfa/passkey", {"mfa_token": asked["mfa_token"]}

    assert (len(codes), second) == (10, [])
    assert (asked["requires_mfa"], asked["methods"]) == (True, ["passkey", "recovery_code"])
    for credential in ({}, stranger.sign(await options(auth)), Authenticator().sign(await options(auth))):
        refused = await auth.post(path, json=form | {"credential": credential})
        assert (refused.status_code, refused.json()["code"]) == (401, "invalid_credentials")
    credential = device.sign(await options(auth))
    done = await auth.post(path, json=form | {"credential": credential})
    claims = jwt.decode(done.json()["token"], options={"verify_signature": False})
    assert (claims["sub"], claims["acr"], claims["amr"]) == (person["user"]["id"], "2", ["pwd", "hwk"])
    again = await auth.post(path, json=form | {"credential": device.sign(await options(auth))})
    assert again.json()["code"] == "invalid_mfa_token"
    token = (await login(auth, email)).json()["mfa_token"]
    by_code = {"mfa_token": token, "code": codes[0]}
    assert (await auth.post("/auth/mfa/verify", json=by_code)).status_code == 200


async def test_older_passkey_is_not_required_after_the_password(
    auth: httpx.AsyncClient, person: dict[str, Any], database_url: str
) -> None:
    await add(auth, bearer(person["token"]), Authenticator())
    database = Database(database_url, pool_size=1)
    with database.transaction() as session:
        session.connection().execute(update(PASSKEYS).values(is_second_factor=False))
    database.close()

    assert "token" in (await login(auth, person["user"]["email"])).json()


async def test_passkey_confirms_the_identity_for_a_step_up(
    auth: httpx.AsyncClient, person: dict[str, Any]
) -> None:
    device, stranger, headers = Authenticator(), Authenticator(), bearer(person["token"])
    await add(auth, headers, device)
    await add(auth, bearer((await register(auth))["token"]), stranger)
    path = "/auth/me/step-up"
    foreign = await auth.post(path, json={"credential": stranger.sign(await options(auth))}, headers=headers)
    done = await auth.post(path, json={"credential": device.sign(await options(auth))}, headers=headers)
    both = {"credential": {}, "current_password": PASSWORD}

    assert (foreign.status_code, foreign.json()["code"]) == (401, "invalid_credentials")
    claims = jwt.decode(done.json()["token"], options={"verify_signature": False})
    assert (claims["acr"], claims["amr"]) == ("2", ["hwk"])
    assert (await auth.post(path, json=both, headers=headers)).status_code == 422


@pytest.mark.parametrize(
    ("issuer", "site"),
    [
        ("https://id.example.com", PasskeySite("id.example.com", "https://id.example.com")),
        ("http://localhost:8000", PasskeySite("localhost", "http://localhost:8000")),
        ("http://127.0.0.1:8000", PasskeySite("localhost", "http://localhost:8000")),
        ("http://[::1]", PasskeySite("localhost", "http://localhost")),
        ("https://192.0.2.7", None),
        ("", None),
    ],
)
def test_passkeys_belong_to_a_host_name_and_never_to_an_address(
    issuer: str, site: PasskeySite | None
) -> None:
    assert passkey_site(issuer) == site


@pytest.mark.parametrize("after", ["", "/auth/account/passkeys", "/oauth/authorize?client_id=a&state=%3Fx"])
async def test_pages_at_an_address_link_to_the_host_name_that_takes_passkeys(
    after: str, auth: httpx.AsyncClient
) -> None:
    page = (await auth.get("/auth/signin", params={"next": after})).text
    linked = elsewhere(page)

    assert "data-passkey-elsewhere hidden" in page
    assert (linked.scheme, linked.netloc, linked.path) == ("http", "localhost:8000", "/auth/signin")
    assert parse_qs(linked.query) == ({"next": [after]} if after else {})


async def test_page_links_to_the_name_of_the_site_even_if_the_suite_is_configured_with_it(
    make_auth_settings: Callable[..., Settings],
) -> None:
    async with running(create_app, make_auth_settings(oauth_issuer="http://localhost:8000")) as auth:
        linked = elsewhere((await auth.get("/auth/signin")).text)  # the script shows it at addresses only

    assert linked.netloc == "localhost:8000"


async def test_second_factor_at_an_address_links_to_the_host_name_too(
    auth: httpx.AsyncClient, person: dict[str, Any]
) -> None:
    await add(auth, bearer(person["token"]), Authenticator())
    form = {"name": person["user"]["email"], "password": PASSWORD, "next": "/auth/account"}
    page = await post(auth, "/auth/signin", **form)

    assert "Second factor" in page.text
    assert parse_qs(elsewhere(page.text).query) == {"next": ["/auth/account"]}


def elsewhere(page: str) -> SplitResult:
    """Return the address that a page at an IP address leads to."""
    found = re.search(r'data-passkey-elsewhere.*?<a href="([^"]*)"', page, re.DOTALL)
    assert found is not None, page
    return urlsplit(unescape(found[1]))


async def test_suite_at_an_address_says_which_setting_passkeys_need(
    make_auth_settings: Callable[..., Settings],
) -> None:
    settings = make_auth_settings(oauth_issuer="https://192.0.2.7")
    async with running(create_app, settings) as auth:
        refused = await auth.post("/auth/passkeys/options")

    assert (refused.status_code, refused.json()["code"]) == (404, "oauth_off")
    assert refused.json()["detail"] == (
        "Passkeys need a host name. Set OAUTH_ISSUER to the public URL, with a name and no IP address."
    )
