"""What `gatehouse token explain` says about a JWT, check by check, without any server."""

import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.cli.token_claims import Expected, about, check, kind_of
from gateway.cli.token_request import operation_findings
from shared.caller import Caller
from shared.identity.unverified import read_unverified
from shared.testing import TEST_JWT_SECRET, internal_token

NOW = int(time.time())
CLAIMS = {"sub": "ada", "iss": "gatehouse", "aud": "gatehouse", "iat": NOW, "exp": NOW + 900, "role": "user"}
HS256 = Expected(["gatehouse"], "gatehouse", TEST_JWT_SECRET)


def signed(header: dict[str, Any] | None = None, secret: str = TEST_JWT_SECRET, **claims: Any) -> str:
    said = {name: value for name, value in (CLAIMS | claims).items() if value is not None}
    return jwt.encode(said, secret, algorithm="HS256", headers={"typ": "at+jwt", **(header or {})})


def refusals(token: str, expected: Expected = HS256) -> dict[str, str]:
    read = read_unverified(token)
    assert read is not None
    return {one.name: one.words for one in check(token, read, expected, NOW) if one.refuses}


def test_valid_token_passes_every_check() -> None:
    assert refusals(signed()) == {}
    assert refusals(signed(aud=["other", "gatehouse"])) == {}
    assert refusals(signed(exp=NOW - 29, iat=NOW + 29)) == {}  # within the leeway of the verifiers


@pytest.mark.parametrize(
    ("token", "name", "words"),
    [
        (signed(exp=NOW - 3600), "expiry", "60 minutes ago: refresh it, or sign in again"),
        (signed(iss="https://other.example"), "issuer", "this suite accepts gatehouse"),
        (signed(aud="other"), "audience", "other; services of this suite require gatehouse"),
        (signed(aud=None), "claims", "it lacks aud"),
        (signed(exp=None), "claims", "it lacks exp"),
        (signed(iat=NOW + 600), "clock", "iat is 10 minutes in the future"),
        (signed(nbf=NOW + 600), "clock", "nbf is 10 minutes in the future"),
        (signed({"typ": "JWT"}), "type", "typ is JWT; access tokens have typ at+jwt"),
        (signed({"typ": 7}), "type", "typ is 7"),
        (signed(secret=TEST_JWT_SECRET[::-1]), "signature", "it was made with another JWT_SECRET"),
        (signed(more="x" * 9_000), "size", "at most 8192 are read"),
        (jwt.encode(CLAIMS, "", algorithm="none", headers={"typ": "at+jwt"}), "signature", "alg is none"),
    ],
)
def test_each_fault_is_named(token: str, name: str, words: str) -> None:
    assert words in refusals(token)[name]


def test_a_key_that_is_not_published_is_named() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    token = jwt.encode(CLAIMS, key, algorithm="RS256", headers={"typ": "at+jwt", "kid": "gone"})
    jwk = jwt.PyJWK(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), algorithm="RS256")
    expected = Expected(["gatehouse"], "gatehouse", None, {"here": jwk})

    assert "no key gone is published" in refusals(token, expected)["signature"]
    assert "alg is HS256; this suite signs with RS256 only" in refusals(signed(), expected)["signature"]
    assert refusals(token, Expected(["gatehouse"], "gatehouse", None, {"gone": jwk})) == {}
    broken = token[:-8] + ("A" * 8 if token[-8:] != "A" * 8 else "B" * 8)
    assert refusals(broken, Expected(["gatehouse"], "gatehouse", None, {"gone": jwk})) == {
        "signature": "it does not match the key"
    }


def test_kinds_of_tokens_are_distinguished() -> None:
    kinds = {
        "person who signed in": signed(),
        "of a program": signed(client_id="pat_x"),
        "between services": internal_token("orders"),
        "ID token": signed({"typ": "JWT"}),
        "another kind (typ dpop+jwt)": signed({"typ": "dpop+jwt"}),
    }
    for words, token in kinds.items():
        read = read_unverified(token)
        assert read is not None
        assert words in kind_of(read)


@pytest.mark.parametrize("text", ["", "x", "a.b", "a.b.c", "é.x.y", "W10.W10.x", f"{'e30.' * 4}"])
def test_text_that_is_not_a_jwt_is_not_decoded(text: str) -> None:
    assert read_unverified(text) is None


def test_untrusted_values_are_shown_on_one_line() -> None:
    read = read_unverified(signed(sub="a\nresult  accepted\x1b[2J", username="ü" * 500))
    assert read is not None
    for one in about(read):
        assert one.words.isprintable()
        assert one.words.isascii()
        assert len(one.words) < 400


def caller(role: str = "user", *scopes: str, limited: bool = True) -> Caller:
    return Caller("ada", role, None, None, None, frozenset(scopes), 0.0, is_limited=limited)


DOCUMENT = {
    "info": {"title": "orders"},
    "paths": {
        "/orders/{order_id}": {
            "get": {"operationId": "show_order", "security": [{"bearer": ["orders:read"]}]}
        },
        "/orders/all": {"get": {"operationId": "list_all", "security": [{"bearer": ["admin:orders"]}]}},
        "/orders/pay": {"post": {"operationId": "pay", "security": [{"bearer": []}]}},
        "/prices": {"get": {"operationId": "list_prices", "security": []}},
    },
}


@pytest.mark.parametrize(
    ("method", "path", "who", "refused"),
    [
        ("GET", "/orders/7", caller("user", "orders:read"), ""),
        ("GET", "/orders/7", caller(limited=False), ""),
        ("GET", "/orders/7", caller("user", "files:read"), "orders, show_order: 403 insufficient_scope"),
        ("GET", "/orders/all", caller("admin", limited=False), ""),
        ("GET", "/orders/all", caller(limited=False), "orders, list_all: 403 forbidden"),
        ("POST", "/orders/pay", caller("user", "full_access"), "orders, pay: 403 not_interactive"),
        ("GET", "/prices", caller(), ""),
        ("GET", "/nothing", caller(), ""),
    ],
)
def test_the_operation_that_refuses_is_named(method: str, path: str, who: Caller, refused: str) -> None:
    found = [*operation_findings(DOCUMENT, method, path, who)]

    assert [one.refuses for one in found if one.refuses] == ([refused] if refused else [])
    assert found[0].name == "operation"
