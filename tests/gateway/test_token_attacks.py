"""Forged tokens at the gateway: each gets a 401, none causes an error, and no URL in a token is fetched."""

import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from shared.testing import TEST_JWT_SECRET, bearer, token
from tests.auth.forging import Forger
from tests.gateway.backends import Backend, Conversation
from tests.gateway.conftest import Start, StartBackend
from tests.gateway.support import RunningGateway

KEY_ID = "the-key"
# Only auth knows whether a session or an account still exists; it publishes revocations.
FOR_AUTH = {
    *("no session", "unknown session", "session with a quote", "session number", "session with a zero byte"),
    "another account",
}


class Issuer:
    """Serves the public key of a key pair created for the test."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        self.jwks = {"keys": [{**public, "kid": KEY_ID, "use": "sig", "alg": "RS256"}]}

    async def serve(self, conversation: Conversation) -> None:
        while await conversation.request() is not None:
            await conversation.answer_json(self.jwks)

    def forger(self, listener: str) -> Forger:
        claims = jwt.decode(token(), TEST_JWT_SECRET, algorithms=["HS256"], audience="gatehouse")
        good = jwt.encode(claims, self.key, algorithm="RS256", headers={"kid": KEY_ID, "typ": "at+jwt"})
        return Forger(good, self.jwks, self.key, listener)


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
async def jwks(start_backend: StartBackend, issuer: Issuer) -> Backend:
    return await start_backend(issuer.serve)


@pytest.fixture
async def gateway(start_gateway: Start, backend: Backend, jwks: Backend) -> RunningGateway:
    return await start_gateway(
        f"routes: [{{path: /x, backend: '{backend.url}', rate_limit: {{rate: 100000/s}}}}]",
        jwt_secret=None,
        jwks_url=f"{jwks.url}/jwks.json",
        auth_failures_per_second=0,  # every token has to be verified
    )


@pytest.mark.conforms("RFC 8725 3.1")
async def test_every_forged_token_is_refused_with_401_J1(
    gateway: RunningGateway, backend: Backend, jwks: Backend, issuer: Issuer, start_backend: StartBackend
) -> None:
    elsewhere = await start_backend()
    forger = issuer.forger(f"{elsewhere.url}/keys.json")
    attacks = {name: forged for name, forged in forger.attacks() if name not in FOR_AUTH}
    assert len(attacks) > 120
    wire = await gateway.connect()
    passed = {}
    for name, forged in attacks.items():
        answer = await wire.request("GET", "/x", bearer(forged))
        challenge = answer.value("www-authenticate")
        if (answer.status, answer.code, challenge) != (401, "invalid_token", 'Bearer error="invalid_token"'):
            passed[name] = (answer.status, challenge)
    assert passed == {}
    assert not backend.received
    assert elsewhere.connections == 0, "a URL in a token was fetched"
    assert len(jwks.received) <= 2, "unknown key ids made the gateway fetch the keys repeatedly"

    # The forger itself works: its valid tokens pass.
    for good in (forger.signed(), forger.signed(aud=["other", "gatehouse"]), forger.good):
        assert (await wire.request("GET", "/x", bearer(good))).status == 200


@pytest.mark.parametrize("claim", ["sub", "username", "role", "client_id", "jti", "sid", "tenant"])
async def test_claim_with_a_lone_surrogate_causes_no_error(
    start_gateway: Start, backend: Backend, jwks: Backend, issuer: Issuer, claim: str
) -> None:
    """A lone surrogate is valid JSON but cannot be encoded for a log, a header or a digest."""
    keys = "claims: {tenant: a}, rate_limit: [{rate: 9/s, key: user+client}]" if claim == "tenant" else ""
    gateway = await start_gateway(
        f"routes: [{{path: /x, backend: '{backend.url}', {keys}}}]",
        jwt_secret=None,
        jwks_url=f"{jwks.url}/jwks.json",
    )
    answer = await gateway.request("GET", "/x", bearer(issuer.forger("").signed(None, **{claim: "a\ud800"})))
    assert answer.status < 500, answer
    assert (await gateway.request("GET", "/x", bearer(issuer.forger("").good))).status < 500


@pytest.mark.conforms("RFC 9700 4.3.2")
async def test_token_outside_the_authorization_header_is_ignored_B6(
    gateway: RunningGateway, backend: Backend, issuer: Issuer
) -> None:
    good = issuer.forger("").good
    assert (await gateway.request("GET", f"/x?access_token={good}")).status == 401
    assert (await gateway.request("GET", "/x", {"Cookie": f"token={good}"})).status == 401
    twice = f"Authorization: Bearer {good}\r\n" * 2
    answer = await gateway.raw(f"GET /x HTTP/1.1\r\nHost: a\r\n{twice}Connection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    long = await gateway.raw(f"GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {'x' * 1_000_000}\r\n\r\n")
    assert long.startswith(b"HTTP/1.1 431 ")
    assert not backend.received
    for scheme in ("bearer", "BEARER"):
        assert (await gateway.request("GET", "/x", {"Authorization": f"{scheme} {good}"})).status == 200


async def test_only_the_shared_secret_can_sign_if_it_is_set(start_gateway: Start, backend: Backend) -> None:
    gateway = await start_gateway(f"routes: [{{path: /x, backend: '{backend.url}'}}]")
    claims = jwt.decode(token(), TEST_JWT_SECRET, algorithms=["HS256"], audience="gatehouse")
    own = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    forged = [
        jwt.encode(claims, own, algorithm="RS256", headers={"kid": KEY_ID, "typ": "at+jwt"}),
        jwt.encode(claims, "", algorithm="none", headers={"typ": "at+jwt"}),
        jwt.encode(claims, TEST_JWT_SECRET * 2, algorithm="HS512", headers={"typ": "at+jwt"}),
        jwt.encode(claims, TEST_JWT_SECRET * 2, algorithm="HS256", headers={"typ": "at+jwt"}),
        jwt.encode(
            {**claims, "exp": int(time.time()) - 60},
            TEST_JWT_SECRET,
            algorithm="HS256",
            headers={"typ": "at+jwt"},
        ),
        json.dumps(claims),
    ]
    statuses = [(await gateway.request("GET", "/x", bearer(each))).status for each in forged]
    assert statuses == [401] * len(forged)
    assert not backend.received
    assert (await gateway.request("GET", "/x", bearer(token()))).status == 200
