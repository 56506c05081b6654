"""Signing in with a provider, as a browser does it."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from services.auth.app import create_app
from services.auth.models import EVENTS, Account, LoginSession
from services.auth.provider_models import Identity, PendingSignIn
from services.auth.settings import Settings
from shared.testing import bearer, running
from tests.auth.conftest import StoppedClock
from tests.auth.mailbox import Mailbox
from tests.auth.oauth.support import OURS, admin_token
from tests.auth.providers.conftest import configured
from tests.auth.providers.double import CLIENT, Double
from tests.auth.providers.support import ANN, PAGE, arrive, begin, come_back, confirm_address, refused, who
from tests.auth.support import let_time_pass, login, rows
from tests.auth.test_factors import Clock, codes, enrolled, verify
from tests.told import records

__all__ = ["codes"]  # a fixture
Make = Callable[..., Settings]


@pytest.mark.conforms("OIDC Core 3.1.2", "oidcc-client-test")
async def test_new_person_gets_an_account_and_a_session(
    mailbox: Mailbox, auth: httpx.AsyncClient, double: Double, database_url: str
) -> None:
    page = await auth.get("/auth/signin", headers=PAGE)
    sent = urlsplit(await begin(auth))
    asked = {name: values[0] for name, values in parse_qs(sent.query).items()}
    arrived = await arrive(auth, double)

    assert 'href="/auth/providers/acme">Continue with Acme</a>' in page.text
    assert f"{sent.scheme}://{sent.netloc}{sent.path}" == f"{double.issuer()}/authorize"
    assert asked["redirect_uri"] == "http://127.0.0.1:8000/auth/callback/acme"
    assert (asked["client_id"], asked["scope"]) == (CLIENT, "openid email profile")
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    assert len({asked[name] for name in ("state", "nonce", "code_challenge")}) == 3
    assert (arrived.status_code, arrived.headers["location"]) == (303, "/auth/signin")
    assert arrived.headers["cache-control"] == "no-store"
    assert await who(auth) == "ann@example.com"
    (identity,) = rows(database_url, Identity)
    (account,) = [one for one in rows(database_url, Account) if one["id"] == identity["account_id"]]
    assert (account["email"], account["first_name"], account["password_hash"]) == (
        "ann@example.com",
        "Ann",
        None,
    )
    assert account["verified"] is None  # the operator does not trust this provider with addresses
    assert len(mailbox.mails("ann@example.com", "verify_email")) == 1
    assert (identity["issuer"], identity["subject"]) == (double.issuer(), "ann")
    (session,) = rows(database_url, LoginSession)
    assert session["amr"] == "fed"
    (told,) = [one for one in records(database_url, EVENTS) if one["action"] == "SIGN_IN_WITH_PROVIDER"]
    assert (told["outcome"], told["user_id"]) == ("success", account["id"])
    assert told["metadata"] == {"provider": "acme", "account": "created", "second_factor": "none"}


async def test_same_subject_is_the_same_account_with_any_address(
    auth: httpx.AsyncClient, double: Double, database_url: str
) -> None:
    await arrive(auth, double)
    await arrive(auth, double, email="ann@elsewhere.example", email_verified=False)
    (identity,) = rows(database_url, Identity)

    assert await who(auth) == "ann@example.com"
    assert (identity["uses"], identity["email"]) == (2, "ann@elsewhere.example")


async def test_same_subject_of_another_provider_is_another_person(
    auth: httpx.AsyncClient, double: Double, database_url: str
) -> None:
    await arrive(auth, double)
    await arrive(auth, double, "google", email="another@gmail.com")

    assert len({one["account_id"] for one in rows(database_url, Identity)}) == 2
    assert await who(auth) == "another@gmail.com"


async def test_sign_in_returns_only_to_an_authorization_request_B4(
    auth: httpx.AsyncClient, double: Double
) -> None:
    after = "/oauth/authorize?client_id=x&state=y"
    page = await auth.get("/auth/signin", params={"next": after})
    good = await arrive(auth, double, after=after)
    assert "/auth/providers/acme?next=/oauth/authorize%3Fclient_id%3Dx%26state%3Dy" in page.text
    assert good.headers["location"] == after
    for evil in ("https://evil.example", "//evil.example", "/\\evil.example", "/oauth/authorize?\r\nx"):
        assert (await arrive(auth, double, after=evil)).headers["location"] == "/auth/signin"
    long = await auth.get("/auth/providers/acme", params={"next": "/oauth/authorize?" + "x" * 5000})
    assert long.status_code == 400


async def test_previous_session_ends_and_the_new_one_has_another_cookie(
    auth: httpx.AsyncClient, double: Double
) -> None:
    await arrive(auth, double)
    before = auth.cookies["session"]
    await arrive(auth, double)

    assert auth.cookies["session"] != before
    async with httpx.AsyncClient(transport=auth._transport, base_url="http://service") as other:
        other.cookies.set("session", before)
        assert await who(other) is None


@pytest.mark.conforms("RFC 6749 10.12")
async def test_state_is_valid_once_in_its_browser_for_ten_minutes_at_its_provider_B4(
    auth: httpx.AsyncClient, double: Double, database_url: str
) -> None:
    query = double.consent(await begin(auth), **ANN)
    strange = (400, "invalid_state")
    async with httpx.AsyncClient(transport=auth._transport, base_url="http://service") as other:
        stolen = await refused(come_back(other, query))
        assert stolen == (*strange, "state_of_another_browser")
        await begin(other)
        assert await refused(come_back(other, query)) == (*strange, "state_of_another_browser")
        assert await who(other) is None
    assert (await come_back(auth, query)).status_code == 303  # the stranger has not used it up
    assert await refused(come_back(auth, query)) == (*strange, "state_unknown")
    late = double.consent(await begin(auth), **ANN)
    let_time_pass(database_url, PendingSignIn, "expires", timedelta(minutes=10, seconds=1))
    assert await refused(come_back(auth, late)) == (*strange, "state_expired")
    for state in ("", "x", "x" * 43, "\x00" * 43):
        wrong = await refused(come_back(auth, {**query, "state": state}))
        assert wrong[:2] == strange
    async with httpx.AsyncClient(transport=auth._transport, base_url="http://service") as other:
        fresh = double.consent(await begin(other), **ANN)
        double.requests.clear()
        assert (await refused(come_back(other, fresh, "google")))[2] == "state_of_another_provider"
    assert double.requests == []  # the code went nowhere


async def test_one_of_ten_concurrent_uses_of_a_state_signs_in_B4(
    auth: httpx.AsyncClient, double: Double
) -> None:
    query = double.consent(await begin(auth), **ANN)
    responses = await asyncio.gather(*(come_back(auth, query) for _ in range(10)))

    assert sorted(one.status_code for one in responses) == [303] + [400] * 9


async def test_ten_concurrent_first_sign_ins_of_a_person_reach_one_account(
    auth: httpx.AsyncClient, double: Double, database_url: str
) -> None:
    queries = [double.consent(await begin(auth), **ANN) for _ in range(10)]
    responses = await asyncio.gather(*(come_back(auth, query) for query in queries))

    assert [one.status_code for one in responses] == [303] * 10, [one.text for one in responses]
    (identity,) = rows(database_url, Identity)
    assert identity["uses"] == 10


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("state={state}&state={state}&code=x", "parameter_repeated"),
        ("state={state}&code=x&code=y", "parameter_repeated"),
        ("state={state}", "code_missing"),
        ("state={state}&code=", "code_missing"),
        ("state={state}&code=" + "x" * 5000, "code_missing"),
        ("state={state}&code=" + "x" * 20_000, "query_too_long"),
        ("&".join(f"a{number}=x" for number in range(100)), "query_malformed"),
        ("", "state_missing"),
    ],
    ids=["state twice", "code twice", "no code", "empty code", "long code", "long query", "many", "nothing"],
)
async def test_malformed_response_is_refused_with_400(
    auth: httpx.AsyncClient, double: Double, query: str, reason: str
) -> None:
    given = double.consent(await begin(auth), **ANN)
    iss = f"&iss={given['iss']}" if query else ""
    work = auth.get(f"/auth/callback/acme?{query.format(state=given['state'])}{iss}")

    assert await refused(work) == (400, "invalid_state", reason)


@pytest.mark.conforms("RFC 9207 2.4")
async def test_mix_up_is_refused_before_the_code_is_sent_O11(auth: httpx.AsyncClient, double: Double) -> None:
    for iss in (double.issuer("google"), "https://evil.example"):
        query = double.consent(await begin(auth), **ANN)
        double.requests.clear()
        mixed = await refused(come_back(auth, {**query, "iss": iss}))
        assert mixed == (502, "provider_untrusted", "response_of_another_issuer")
        assert double.requests == []
    query = double.consent(await begin(auth), **ANN)
    del query["iss"]
    assert (await refused(come_back(auth, query)))[2] == "response_without_issuer"
    error = {"error": "access_denied", "state": double.consent(await begin(auth))["state"], "iss": "x"}
    assert (await refused(come_back(auth, error)))[2] == "response_of_another_issuer"


async def test_denied_consent_shows_a_page_with_a_link_back(auth: httpx.AsyncClient, double: Double) -> None:
    given = double.consent(await begin(auth))
    error = {"error": "access_denied", "error_description": "<script>", **given}
    del error["code"]
    page = await come_back(auth, error, headers=PAGE)

    assert page.status_code == 400
    assert "You were not signed in" in page.text
    assert "script" not in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert 'href="/auth/signin"' in page.text


async def test_hostile_response_shows_no_details_and_records_the_reason(
    auth: httpx.AsyncClient, double: Double, database_url: str
) -> None:
    double.change["claims"] = lambda told: told.update(nonce="x")
    query = double.consent(await begin(auth), **ANN)
    page = await come_back(auth, query, headers=PAGE)

    assert page.status_code == 502
    assert "nonce" not in page.text
    assert "set-cookie" not in page.headers
    assert rows(database_url, Identity) == []
    assert [one["email"] for one in rows(database_url, Account)] == ["admin@example.com"]
    (told,) = [one for one in records(database_url, EVENTS) if one["action"] == "SIGN_IN_WITH_PROVIDER"]
    assert (told["outcome"], told["status"]) == ("refused", 502)
    assert told["metadata"] == {"provider": "acme", "reason": "wrong_nonce"}


async def test_provider_that_is_down_is_503_and_writes_nothing(
    auth: httpx.AsyncClient, double: Double, database_url: str
) -> None:
    double.raw["openid-configuration"] = (503, b"", {})
    page = await auth.get("/auth/providers/acme", headers=PAGE)
    problem = await auth.get("/auth/providers/acme")

    assert page.status_code == problem.status_code == 503
    assert "cannot be reached" in page.text
    assert int(page.headers["retry-after"]) > 0
    assert problem.json()["code"] == "provider_unavailable"
    assert rows(database_url, PendingSignIn) == []


async def test_unknown_provider_is_404(auth: httpx.AsyncClient) -> None:
    for path in ("/auth/providers/nobody", "/auth/callback/nobody", "/auth/callback/google"):
        assert (await auth.get(path)).status_code == 404


async def test_providers_are_listed_without_secrets(auth: httpx.AsyncClient) -> None:
    listed = (await auth.get("/auth/providers")).json()

    assert listed[0] == {"name": "acme", "label": "Acme", "url": "/auth/providers/acme"}
    assert [one["label"] for one in listed] == ["Acme", "Google", "GitHub"]


async def test_second_factor_is_required_after_a_provider_M1(
    auth: httpx.AsyncClient, double: Double, codes: Clock, database_url: str
) -> None:
    person = await enrolled(auth, codes)
    confirm_address(database_url, person.email)
    ann = {"email": person.email, "hd": "example.com"}
    auth.cookies.clear()
    query = double.consent(await begin(auth, "google", after="/oauth/device"), **{**ANN, **ann})
    page = await come_back(auth, query, "google", headers=PAGE)
    told = (await arrive(auth, double, "google", **ann)).json()

    assert (page.status_code, "Enter the code" in page.text) == (200, True)
    assert "set-cookie" not in page.headers
    assert await who(auth) is None
    assert (told["requires_mfa"], told["expires_in"]) == (True, 300)
    assert (await verify(auth, told["mfa_token"], "000000")).status_code == 401
    form = {"mfa_token": told["mfa_token"], "code": person.next_code(), "next": "/oauth/device"}
    done = await auth.post("/auth/signin/code", data=form, headers=OURS)
    assert (done.status_code, done.headers["location"]) == (303, "/oauth/device")
    assert await who(auth) == person.email
    newest = max(rows(database_url, LoginSession), key=lambda row: row["id"])
    assert newest["amr"] == "fed otp"


async def test_disabled_account_is_refused(
    auth: httpx.AsyncClient, double: Double, database_url: str
) -> None:
    await arrive(auth, double)
    (identity,) = rows(database_url, Identity)
    auth.cookies.clear()
    admin = bearer(await admin_token(auth))
    body = {"status": "disabled", "reason": "abuse"}
    path = f"/auth/accounts/{identity['account_id']}"
    assert (await auth.patch(path, json=body, headers=admin)).status_code == 200

    assert await refused(arrive(auth, double)) == (403, "account_inactive", "account_inactive")
    assert await who(auth) is None


async def test_account_without_password_responds_like_an_unknown_one_A1(
    auth: httpx.AsyncClient, double: Double
) -> None:
    await arrive(auth, double)
    here, nobody = await login(auth, "ann@example.com"), await login(auth, "nobody@example.com")

    assert here.status_code == nobody.status_code == 401
    assert {**here.json(), "request_id": ""} == {**nobody.json(), "request_id": ""}


async def test_new_person_needs_a_verified_address(auth: httpx.AsyncClient, double: Double) -> None:
    unverified = (403, "email_not_verified", "email_not_verified")
    assert await refused(arrive(auth, double, email_verified=False)) == unverified
    assert await refused(arrive(auth, double, email="not an address")) == unverified


async def test_network_can_start_thirty_sign_ins_at_once(
    auth: httpx.AsyncClient, double: Double, clock: StoppedClock
) -> None:
    statuses = [(await auth.get("/auth/providers/acme")).status_code for _ in range(31)]
    page = await auth.get("/auth/providers/acme", headers=PAGE)
    clock.advance(5)

    assert statuses == [303] * 30 + [429]
    assert (page.status_code, page.headers["retry-after"]) == (429, "5")
    assert (await auth.get("/auth/providers/acme")).status_code == 303


async def test_only_people_of_the_domain_sign_in(
    provider_settings: Make, double: Double, database_url: str
) -> None:
    providers = configured(double)
    providers["google"] |= {"domains": ["example.org"]}
    providers["acme"] |= {"domains": ["example.org"]}
    wrong = (403, "wrong_domain", "wrong_domain")
    async with running(create_app, provider_settings(providers)) as auth:
        assert await refused(arrive(auth, double, "google", email="a@example.org")) == wrong
        assert await refused(arrive(auth, double, "google", hd="evil.example")) == wrong
        assert await refused(arrive(auth, double, email="a@evil.example")) == wrong
        assert await refused(arrive(auth, double, email="a@example.org", email_verified=False)) == wrong
        good = await arrive(auth, double, "google", email="a@example.org", hd="example.org")
        assert good.status_code == 303
        assert (await arrive(auth, double, email="b@example.org")).status_code == 303


async def test_closed_registration_creates_no_accounts_and_signs_in_existing_ones(
    provider_settings: Make, double: Double, database_url: str
) -> None:
    async with running(create_app, provider_settings()) as auth:
        await arrive(auth, double)
    async with running(create_app, provider_settings(registration="closed")) as auth:
        closed = await refused(arrive(auth, double, sub="bob", email="bob@example.com"))
        assert closed == (403, "registration_closed", "registration_closed")
        assert (await arrive(auth, double)).status_code == 303
    async with running(create_app, provider_settings(registration="verified")) as auth:
        told = await refused(arrive(auth, double, sub="bob", email="bob@example.com"))
        assert told == (403, "email_not_verified", "provider_not_trusted")
        assert (await arrive(auth, double, "google", email="bob@gmail.com")).status_code == 303
    assert len(rows(database_url, Identity)) == 2
