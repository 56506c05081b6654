"""A hostile, broken or hanging provider signs no one in, and the log has a reason for each case."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from cryptography.hazmat.primitives import serialization

from services.auth.provider_settings import made
from services.auth.providers import documents
from services.auth.providers.openid import OpenIdProvider
from services.auth.providers.person import Person, Response, Secrets
from services.auth.providers.refusals import Refused
from shared.peers.outbound import Outbound, OutboundSettings
from shared.testing import TEST_INTERNAL_SECRET
from tests.auth.providers.double import (
    CLIENT,
    RSA,
    SECRET,
    Double,
    ec_jwk,
    rsa_jwk,
    sign_ec,
    sign_rsa,
    unsigned,
)
from tests.support import free_port

BACK = "http://127.0.0.1:8000/auth/callback/acme"
SECRETS = Secrets(state="s" * 43, nonce="n" * 43, verifier="v" * 43)
ANN = {"sub": "ann", "email": "ann@example.com", "email_verified": True}
Mode = Callable[[Double], None]
Connect = Callable[..., OpenIdProvider]


class Settings(OutboundSettings):
    service: ClassVar[str] = "billing"


@pytest.fixture
async def connect(tmp_path: Path, double: Double) -> AsyncIterator[Connect]:
    opened: list[Outbound] = []

    def connect(environment: str = "development", seconds: float = 20.0, **fields: Any) -> OpenIdProvider:
        given = {"data_dir": tmp_path, "environment": environment, "internal_secret": TEST_INTERNAL_SECRET}
        settings = Settings.model_validate(given)
        opened.append(Outbound(settings, "sign_in", seconds_max=seconds, answer_bytes_max=256 * 1024))
        client = {"issuer": double.issuer(), "client_id": CLIENT, "client_secret": SECRET}
        return OpenIdProvider(made("acme", {**client, **fields}), opened[-1])

    yield connect
    for one in opened:
        await one.close()


async def arrive(provider: OpenIdProvider, double: Double, **person: Any) -> Person:
    """Sign in as ann, the way a browser does."""
    query = double.consent(await provider.url(SECRETS, BACK), **{**ANN, **person})
    await provider.require_sender(query["iss"])
    return await provider.person(Response(query["code"], query["iss"]), SECRETS, BACK)


async def refusal(work: Awaitable[object]) -> tuple[int, str]:
    with pytest.raises(Refused) as raised:
        await work
    return raised.value.problem.status, raised.value.reason


def claims(**values: Any) -> Mode:
    """A mode that sets claims of the ID token; None leaves one out."""

    def change(told: dict[str, Any]) -> None:
        told.update(values)
        for name in [name for name, value in values.items() if value is None]:
            del told[name]

    return lambda double: double.change.update(claims=change)


def signed(sign: Callable[[dict[str, Any]], str]) -> Mode:
    return lambda double: setattr(double, "sign", sign)


def document(kind: str, **values: Any) -> Mode:
    """A mode that sets members of a document; None leaves one out."""

    def change(told: dict[str, Any]) -> None:
        told.update(values)
        for name in [name for name, value in values.items() if value is None]:
            del told[name]

    return lambda double: double.change.update({kind: change})


def raw(last: str, status: int, body: bytes = b"{}", **headers: str) -> Mode:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda double: double.raw.update({last: (status, body, named)})


def keys(*listed: dict[str, Any]) -> Mode:
    return lambda double: setattr(double, "keys", list(listed))


def with_public_key_as_secret(told: dict[str, Any]) -> str:
    form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return hs256(told, RSA.public_key().public_bytes(*form))


def hs256(told: dict[str, Any], secret: bytes) -> str:
    content = unsigned({"alg": "HS256", "kid": "rsa", "typ": "JWT"}, told).rstrip(".")
    signature = hmac.digest(secret, content.encode(), hashlib.sha256)
    return f"{content}.{encoded(signature)}"


def with_other_signature(told: dict[str, Any]) -> str:
    content, _, signature = sign_rsa(told).rpartition(".")
    _, _, other = sign_rsa({**told, "sub": "bob"}).rpartition(".")
    assert other != signature
    return f"{content}.{other}"


def with_member_twice(told: dict[str, Any]) -> str:
    _, claims_part, signature = sign_rsa(told).split(".")
    header = encoded(b'{"alg":"RS256","kid":"rsa","kid":"rsa"}')
    return f"{header}.{claims_part}.{signature}"


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def now(seconds: float = 0) -> int:
    return int(time.time() + seconds)


WEAK = {"kty": "RSA", "kid": "rsa", "e": "AQAB", "n": encoded((2**1023 + 1).to_bytes(128, "big"))}
OCT = {"kty": "oct", "kid": "rsa", "k": encoded(SECRET.encode()), "alg": "HS256"}
TOO_MUCH = json.dumps({"keys": [], "padding": "x" * 300_000}).encode()

LIES: dict[str, tuple[Mode, str]] = {
    "another issuer": (claims(iss="https://evil.example"), "wrong_issuer"),
    "no issuer": (claims(iss=None), "claim_missing"),
    "another audience": (claims(aud="another client"), "wrong_audience"),
    "no audience": (claims(aud=None), "claim_missing"),
    "a second audience without azp": (claims(aud=[CLIENT, "another"]), "wrong_party"),
    "azp of another client": (claims(azp="another"), "wrong_party"),
    "expired": (claims(exp=now(-31)), "token_expired"),
    "no expiry": (claims(exp=None), "claim_missing"),
    "expiry as text": (claims(exp=str(now(86_400))), "token_malformed"),
    "no time of issue": (claims(iat=None), "claim_missing"),
    "issued in the future": (claims(iat=now(3600)), "token_not_yet_valid"),
    "no subject": (claims(sub=None), "claim_missing"),
    "empty subject": (claims(sub=""), "bad_subject"),
    "subject as number": (claims(sub=7), "bad_subject"),
    "long subject": (claims(sub="x" * 256), "bad_subject"),
    "subject with a line break": (claims(sub="ann\n"), "bad_subject"),
    "no nonce": (claims(nonce=None), "nonce_missing"),
    "another nonce": (claims(nonce="x" * 43), "wrong_nonce"),
    "nonce that is not text": (claims(nonce=["n" * 43]), "wrong_nonce"),
    "nonce beyond ASCII": (claims(nonce="\ud800"), "wrong_nonce"),
    "at_hash of another access token": (claims(at_hash="x" * 22), "wrong_access_token"),
    "alg none without signature": (signed(lambda told: unsigned({"alg": "none"}, told)), "token_malformed"),
    "alg none": (signed(lambda told: unsigned({"alg": "none"}, told, b"x")), "wrong_algorithm"),
    "alg None": (signed(lambda told: unsigned({"alg": "None"}, told, b"x")), "wrong_algorithm"),
    "HS256 with the public key": (signed(with_public_key_as_secret), "wrong_algorithm"),
    "HS256 with the client's secret": (signed(lambda told: hs256(told, SECRET.encode())), "wrong_algorithm"),
    "signature of another token": (signed(with_other_signature), "wrong_signature"),
    "unknown key": (signed(lambda told: sign_rsa(told, kid="unknown")), "key_unknown"),
    "key of another kind": (signed(lambda told: sign_ec(told, "rsa")), "key_unknown"),
    "no key id and two keys": (
        lambda double: (
            keys(rsa_jwk("rsa"), rsa_jwk("other"))(double),
            signed(lambda told: sign_rsa(told, kid=None))(double),
        )[1],
        "key_id_missing",
    ),
    "access token as ID token": (signed(lambda told: sign_rsa(told, typ="at+jwt")), "token_of_another_kind"),
    "critical header": (
        signed(lambda told: unsigned({"alg": "RS256", "kid": "rsa", "crit": ["exp"]}, told, b"x")),
        "token_of_another_kind",
    ),
    "member given twice": (signed(with_member_twice), "token_malformed"),
    "long token": (claims(padding="x" * 20_000), "token_malformed"),
    "two parts": (signed(lambda told: sign_rsa(told).rpartition(".")[0]), "token_malformed"),
    "weak key": (keys(WEAK), "bad_key"),
    "secret as key": (keys(OCT), "key_unknown"),
    "keys that are not a list": (document("jwks", keys="rsa"), "bad_key_set"),
    "key set too large": (raw("jwks", 200, TOO_MUCH), "response_too_large"),
    "key set compressed": (raw("jwks", 200, b"x", content_encoding="gzip"), "response_encoded"),
    "key set redirected": (raw("jwks", 302, location="http://127.0.0.1/"), "redirected"),
    "metadata of another issuer": (
        document("metadata", issuer="https://evil.example"),
        "metadata_of_another_issuer",
    ),
    "metadata without endpoint": (document("metadata", token_endpoint=None), "metadata_without_endpoint"),
    "metadata with a script": (
        document("metadata", authorization_endpoint="javascript:alert(1)"),
        "metadata_with_bad_endpoint",
    ),
    "metadata without code flow": (
        document("metadata", response_types_supported=["id_token"]),
        "metadata_without_code_flow",
    ),
    "metadata with algorithms that use the secret": (
        document("metadata", id_token_signing_alg_values_supported=["HS256", "none"]),
        "metadata_without_usable_algorithm",
    ),
    "metadata missing": (raw("openid-configuration", 404), "status_404"),
    "metadata redirected": (raw("openid-configuration", 301, location="/"), "redirected"),
    "metadata as list": (raw("openid-configuration", 200, b"[]"), "not_an_object"),
    "metadata as page": (raw("openid-configuration", 200, b"<html>"), "not_json"),
    "metadata nested deeply": (raw("openid-configuration", 200, b"[" * 100_000), "not_json"),
    "metadata with a member twice": (raw("openid-configuration", 200, b'{"a": 1, "a": 2}'), "not_json"),
    "metadata too large": (raw("openid-configuration", 200, TOO_MUCH), "response_too_large"),
    "tokens redirected": (raw("token", 307, location="http://127.0.0.1/"), "redirected"),
    "tokens with status 201": (raw("token", 201), "status_201"),
    "tokens as text": (raw("token", 200, b"access_token=x"), "not_json"),
    "error without a word": (raw("token", 400, b'{"error": "\\u0000 x"}'), "provider_said_something_else"),
    "wrong secret": (raw("token", 401, b'{"error": "invalid_client"}'), "provider_said_invalid_client"),
    "another token type": (document("token", token_type="mac"), "bad_token_type"),
    "no ID token": (document("token", id_token=None), "id_token_missing"),
    "ID token that is not text": (document("token", id_token={}), "id_token_missing"),
    "no access token": (document("token", access_token=None), "access_token_missing"),
    "access token with a line break": (document("token", access_token="a\nb"), "access_token_missing"),
}


# The modules of the OpenID Foundation's suite that tell a client the same lie.
MODULES = {
    "another issuer": "invalid-iss",
    "another audience": "invalid-aud",
    "no audience": "missing-aud",
    "no time of issue": "missing-iat",
    "no subject": "missing-sub",
    "another nonce": "nonce-invalid",
    "alg none": "idtoken-sig-none",
    "signature of another token": "invalid-sig-rs256",
    "no key id and two keys": "kid-absent-multiple-jwks",
    "metadata of another issuer": "discovery-issuer-mismatch",
}


def hostile(name: str) -> Any:
    module = MODULES.get(name)
    known = f"oidcc-client-test-{module}" if module else ""
    return pytest.param(*LIES[name], id=name, marks=pytest.mark.conforms("OIDC Core 3.1.3.7", known))


def test_modules_name_lies_that_the_fake_provider_knows() -> None:
    assert MODULES.keys() <= LIES.keys()


@pytest.mark.parametrize(("mode", "reason"), [hostile(name) for name in LIES])
async def test_hostile_response_is_refused_with_its_reason(
    double: Double, connect: Connect, mode: Mode, reason: str
) -> None:
    mode(double)

    assert await refusal(arrive(connect(), double)) == (502, reason)


OUTAGES: dict[str, tuple[Mode, str]] = {
    "metadata fail": (raw("openid-configuration", 500), "status_500"),
    "keys fail": (raw("jwks", 503, retry_after="7"), "status_503"),
    "tokens fail": (raw("token", 502), "status_502"),
    "tokens are limited": (raw("token", 429), "status_429"),
    "metadata hang": (lambda double: double.hanging.add("openid-configuration"), "provider_late"),
    "keys hang": (lambda double: double.hanging.add("jwks"), "provider_late"),
    "tokens hang": (lambda double: double.hanging.add("token"), "provider_late"),
}


@pytest.mark.parametrize(("mode", "reason"), OUTAGES.values(), ids=OUTAGES)
async def test_outage_of_a_provider_asks_to_try_again(
    double: Double, connect: Connect, mode: Mode, reason: str
) -> None:
    mode(double)
    # Where nothing responds, the deadline is reached however long it is; elsewhere it is never reached.
    provider = connect(seconds=0.5 if double.hanging else 20.0)
    with pytest.raises(Refused) as raised:
        await arrive(provider, double)

    assert (raised.value.problem.status, raised.value.reason) == (503, reason)
    assert int(raised.value.problem.headers["Retry-After"]) > 0


async def test_unreachable_provider_is_an_outage(connect: Connect) -> None:
    provider = connect(issuer=f"http://127.0.0.1:{free_port()}")

    assert await refusal(provider.url(SECRETS, BACK)) == (503, "provider_unreachable")


async def test_private_address_of_a_provider_is_not_called_in_production(
    double: Double, connect: Connect
) -> None:
    provider = connect("production", issuer=double.issuer())

    assert await refusal(provider.url(SECRETS, BACK)) == (502, "address_refused")
    assert double.requests == []


@pytest.mark.conforms("RFC 9207 2.4")
async def test_response_of_another_issuer_is_refused_O11(double: Double, connect: Connect) -> None:
    provider = connect()

    await provider.require_sender(double.issuer())
    for sender in (f"{double.issuer()}/", double.issuer("evil"), ""):
        assert await refusal(provider.require_sender(sender)) == (502, "response_of_another_issuer")
    assert await refusal(provider.require_sender(None)) == (502, "response_without_issuer")
    assert [one for one in double.requests if "token" in one] == []


async def test_response_without_issuer_is_accepted_if_the_provider_never_sends_one(
    double: Double, connect: Connect
) -> None:
    document("metadata", authorization_response_iss_parameter_supported=None)(double)
    provider = connect()

    await provider.require_sender(None)
    assert await refusal(provider.require_sender("https://evil.example"))


async def test_code_that_the_provider_refuses_is_the_fault_of_the_browser(
    double: Double, connect: Connect
) -> None:
    provider = connect()
    await provider.url(SECRETS, BACK)

    assert await refusal(provider.person(Response("stolen", None), SECRETS, BACK)) == (400, "code_refused")


@pytest.mark.conforms("RFC 7636 4.5")
async def test_wrong_verifier_and_other_redirect_uri_are_refused_by_an_honest_provider(
    double: Double, connect: Connect
) -> None:
    """So the fake provider really checks its requests."""
    provider = connect()
    for secrets, back in ((Secrets(SECRETS.state, SECRETS.nonce, "x" * 43), BACK), (SECRETS, f"{BACK}/x")):
        query = double.consent(await provider.url(SECRETS, BACK), **ANN)
        work = provider.person(Response(query["code"], None), secrets, back)
        assert await refusal(work) == (400, "code_refused")


TRUTHS: dict[str, Mode] = {
    "as usual": lambda _: None,
    "several audiences with azp": claims(aud=[CLIENT, "another"], azp=CLIENT),
    "no at_hash": claims(at_hash=None),
    "no key id and one key": signed(lambda told: sign_rsa(told, kid=None)),
    "ES256": lambda double: (keys(rsa_jwk("rsa"), ec_jwk("ec"))(double), signed(sign_ec)(double))[1],
    "secret in the form": document("metadata", token_endpoint_auth_methods_supported=["client_secret_post"]),
    "address from UserInfo": lambda double: (
        claims(email=None, email_verified=None)(double),
        document("userinfo", email="ann@example.com", email_verified=True)(double),
    )[1],
}


@pytest.mark.parametrize("mode", TRUTHS.values(), ids=TRUTHS)
@pytest.mark.conforms("OIDC Core 3.1.3.7", "oidcc-client-test")
async def test_honest_provider_identifies_the_user(double: Double, connect: Connect, mode: Mode) -> None:
    mode(double)
    person = await arrive(connect(), double)

    assert (person.issuer, person.subject) == (double.issuer(), "ann")
    assert (person.email, person.is_email_verified) == ("ann@example.com", True)


@pytest.mark.conforms("OIDC Core 5.3.2", "oidcc-client-test-userinfo-invalid-sub")
async def test_userinfo_of_another_person_is_refused(double: Double, connect: Connect) -> None:
    claims(email=None)(double)
    document("userinfo", sub="bob")(double)

    assert await refusal(arrive(connect(), double)) == (502, "userinfo_of_another_person")


@pytest.mark.parametrize("value", [False, None, "true", 1, "yes"])
async def test_address_is_verified_only_if_the_claim_is_true(
    double: Double, connect: Connect, value: object
) -> None:
    person = await arrive(connect(), double, email_verified=value)

    assert person.verified_email is None


@pytest.mark.conforms("OIDC Core 10.1.1", "oidcc-client-test-signing-key-rotation")
async def test_new_keys_are_fetched_when_a_token_names_one_and_no_more_than_once_in_ten_seconds(
    double: Double, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = [1_000.0]
    monkeypatch.setattr(documents, "monotonic", lambda: at[0])
    provider = connect()
    await arrive(provider, double)
    double.keys, double.sign = [ec_jwk("new")], lambda told: sign_ec(told, "new")
    for _ in range(3):
        assert await refusal(arrive(provider, double)) == (502, "key_unknown")
    fetched = [one for one in double.requests if one.endswith("/jwks")]
    at[0] += documents.TRIED_AGAIN_SECONDS
    person = await arrive(provider, double)

    assert len(fetched) == 1
    assert person.subject == "ann"


async def test_metadata_and_keys_are_used_for_a_day_while_the_provider_is_down(
    double: Double, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = [1_000.0]
    monkeypatch.setattr(documents, "monotonic", lambda: at[0])
    provider = connect()
    await arrive(provider, double)
    double.raw = {name: (404, b"{}", {}) for name in ("openid-configuration", "jwks")}
    at[0] += documents.STALE_SECONDS - 1
    person = await arrive(provider, double)
    at[0] += documents.TRIED_AGAIN_SECONDS

    assert person.subject == "ann"
    assert await refusal(arrive(provider, double)) == (502, "status_404")


async def test_all_waiting_requests_ask_a_failing_provider_once(double: Double, connect: Connect) -> None:
    raw("openid-configuration", 404)(double)
    provider = connect()
    for _ in range(5):
        assert await refusal(provider.url(SECRETS, BACK)) == (502, "status_404")

    assert len(double.requests) == 1
