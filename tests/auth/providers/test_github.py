"""GitHub, which uses plain OAuth 2.0: the user comes from its API, not from a signed token."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from services.auth.models import Account
from services.auth.provider_models import Identity
from services.auth.providers.github import primary_email
from tests.auth.providers.double import Change, Double
from tests.auth.providers.support import begin, come_back, refused, who
from tests.auth.support import register, rows

PRIMARY = {"email": "Mona@example.com", "primary": True, "verified": True}
MONA = {"id": 583231, "name": "Mona Lisa Octocat", "email": "public@example.com", "emails": [PRIMARY]}


async def arrive(auth: httpx.AsyncClient, double: Double, **person: Any) -> httpx.Response:
    query = double.consent(await begin(auth, "github"), **{**MONA, **person})
    del query["iss"]  # GitHub sends none
    return await come_back(auth, query, "github")


async def test_github_signs_in_by_number_and_verified_primary_address(
    auth: httpx.AsyncClient, double: Double, database_url: str
) -> None:
    sent = urlsplit(await begin(auth, "github"))
    asked = parse_qs(sent.query)
    arrived = await arrive(auth, double)
    again = await arrive(auth, double, name="Renamed", emails=[])

    assert sent.path == "/github/authorize"
    assert asked["scope"] == ["read:user user:email"]
    assert asked["code_challenge_method"] == ["S256"]
    assert "nonce" not in asked
    assert (arrived.status_code, again.status_code) == (303, 303)
    (identity,) = rows(database_url, Identity)
    assert (identity["subject"], identity["issuer"]) == ("583231", double.issuer("github"))
    (account,) = [one for one in rows(database_url, Account) if one["id"] == identity["account_id"]]
    shown = account["email"], account["first_name"], account["last_name"], account["verified"]
    assert shown == ("mona@example.com", "Mona", "Lisa Octocat", None)
    assert await who(auth) == "mona@example.com"


async def test_address_at_github_gives_no_access_to_an_account(
    auth: httpx.AsyncClient, double: Double, database_url: str
) -> None:
    await register(auth, email="mona@example.com")

    assert (await refused(arrive(auth, double)))[:2] == (409, "account_exists")
    assert rows(database_url, Identity) == []


def without(name: str) -> Change:
    return lambda told: told.__delitem__(name)


@pytest.mark.parametrize(
    ("kind", "change", "refusal"),
    [
        ("userinfo", without("id"), (502, "bad_subject")),
        ("userinfo", lambda told: told.update(id="583231"), (502, "bad_subject")),
        ("userinfo", lambda told: told.update(id=True), (502, "bad_subject")),
        ("userinfo", lambda told: told.update(id=-1), (502, "bad_subject")),
        ("userinfo", lambda told: told.update(id=2**70), (502, "bad_subject")),
        ("token", without("access_token"), (502, "access_token_missing")),
        ("token", lambda told: told.update(error="bad_verification_code"), (400, "code_refused")),
        ("token", lambda told: told.update(error="bad_secret"), (502, "provider_said_bad_secret")),
        ("emails", lambda told: told.clear(), (403, "email_not_verified")),
    ],
    ids=["no id", "text", "true", "negative", "huge", "no token", "bad code", "bad secret", "no address"],
)
async def test_invalid_response_of_github_is_refused(
    auth: httpx.AsyncClient, double: Double, kind: str, change: Change, refusal: tuple[int, str]
) -> None:
    double.change[kind] = change
    status, _, reason = await refused(arrive(auth, double))

    assert (status, reason) == refusal


async def test_github_response_that_names_another_issuer_is_refused(
    auth: httpx.AsyncClient, double: Double
) -> None:
    query = double.consent(await begin(auth, "github"), **MONA)
    double.requests.clear()
    mixed = await refused(come_back(auth, {**query, "iss": double.issuer("acme")}, "github"))

    assert mixed == (502, "provider_untrusted", "response_of_another_issuer")
    assert double.requests == []


async def test_sign_in_is_refused_if_github_lists_no_addresses(
    auth: httpx.AsyncClient, double: Double
) -> None:
    double.raw["emails"] = (404, b'{"message": "Not Found"}', {})
    assert (await refused(arrive(auth, double)))[2] == "email_not_verified"
    double.raw["emails"] = (200, b"[", {})
    assert (await refused(arrive(auth, double)))[2] == "not_json"
    double.raw["user"] = (500, b"", {})
    assert (await refused(arrive(auth, double)))[2] == "status_500"


@pytest.mark.parametrize(
    ("listed", "email"),
    [
        ([PRIMARY], "mona@example.com"),
        ([{**PRIMARY, "primary": False}, PRIMARY], "mona@example.com"),
        ([{**PRIMARY, "verified": False}], None),
        ([{**PRIMARY, "verified": "true"}], None),
        ([{**PRIMARY, "primary": 1}], None),
        ([{**PRIMARY, "email": "x"}], None),
        ([{**PRIMARY, "email": None}], None),
        (["mona@example.com"], None),
        ({"email": "mona@example.com"}, None),
        (None, None),
        ([], None),
    ],
)
def test_only_a_verified_primary_address_counts(listed: Any, email: str | None) -> None:
    assert primary_email(listed) == email
