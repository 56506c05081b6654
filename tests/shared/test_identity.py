"""Token verification, with keys that appear, change and may be unreachable."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

import shared.identity.tokens
from shared.caller import Caller
from shared.errors import Forbidden, InvalidToken, Unauthenticated, Unavailable
from shared.identity.same_origin import is_same_origin
from shared.identity.tokens import (
    KEY_FETCH_SECONDS_MIN,
    KEY_LIFE_SECONDS,
    LEEWAY_SECONDS,
    TOKEN_BYTES_MAX,
    VERIFIED_TOKENS_MAX,
    KeySet,
    TokenVerifier,
    admin,
    bearer_token,
)
from shared.peers.client import HttpClient
from shared.process.settings import ProcessSettings
from shared.testing import TEST_JWT_SECRET, TOKEN_SECONDS, token

ISSUER_KEYS = {
    name: rsa.generate_private_key(public_exponent=65537, key_size=2048) for name in ("one", "two")
}


class Issuer:
    """Publishes keys and counts fetches; can be unreachable or slow."""

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.fetched = 0
        self.reachable = True
        self.extra: list[Any] = []
        self.answers = asyncio.Event()
        self.answers.set()

    async def document(self) -> dict[str, Any]:
        self.fetched += 1
        await self.answers.wait()
        if not self.reachable:
            raise Unavailable
        return {"keys": [*self.extra, *[published(name) for name in self.names]]}


def published(name: str, **fields: Any) -> dict[str, Any]:
    jwk = jwt.algorithms.RSAAlgorithm.to_jwk(ISSUER_KEYS[name].public_key(), as_dict=True)
    return {**jwk, "kid": name, "use": "sig", "alg": "RS256", **fields}


def signed_by(name: str, *, kid: str | None = None, **claims: Any) -> str:
    told = {**jwt.decode(token(), options={"verify_signature": False}), **claims}
    kept = {claim: value for claim, value in told.items() if value is not None}
    return jwt.encode(
        kept, ISSUER_KEYS[name], algorithm="RS256", headers={"kid": kid or name, "typ": "at+jwt"}
    )


class Clock:
    """The monotonic clock of the key set, set by the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return time.time()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(shared.identity.tokens, "time", made)
    return made


class Settings(ProcessSettings):
    service = "test"


@pytest.fixture
def make_verifier(make_settings: Callable[..., Any]) -> Callable[..., TokenVerifier]:
    def make(issuer: Issuer, **values: Any) -> TokenVerifier:
        settings = make_settings(Settings, **{"jwt_secret": None, **values})
        return TokenVerifier(settings, HttpClient(), fetch_keys=issuer.document)

    return make


class TestKeySet:
    async def test_known_key_is_fetched_once(self, clock: Clock) -> None:
        issuer = Issuer("one", "two")
        keys = KeySet(issuer.document)
        for name in ("one", "two", "one"):
            assert (await keys.key(name)).key_id == name
        clock.now += KEY_LIFE_SECONDS - 1
        await keys.key("one")

        assert issuer.fetched == 1

    async def test_all_waiters_share_one_fetch(self, clock: Clock) -> None:
        issuer = Issuer("one")
        keys = KeySet(issuer.document)
        issuer.answers.clear()
        waiting = [asyncio.ensure_future(keys.key("one")) for _ in range(50)]
        await asyncio.sleep(0)  # all of them have asked
        issuer.answers.set()

        assert {key.key_id for key in await asyncio.gather(*waiting)} == {"one"}
        assert issuer.fetched == 1

    async def test_new_key_is_fetched_when_first_used(self, clock: Clock) -> None:
        issuer = Issuer("one")
        keys = KeySet(issuer.document)
        await keys.key("one")
        issuer.names.append("two")
        clock.now += KEY_FETCH_SECONDS_MIN

        assert (await keys.key("two")).key_id == "two"
        assert (await keys.key("one")).key_id == "one"
        assert issuer.fetched == 2

    async def test_withdrawn_key_is_refused(self, clock: Clock) -> None:
        issuer = Issuer("one", "two")
        keys = KeySet(issuer.document)
        await keys.key("one")
        issuer.names.remove("one")
        clock.now += KEY_LIFE_SECONDS + 1

        with pytest.raises(InvalidToken):
            await keys.key("one")
        assert (await keys.key("two")).key_id == "two"

    async def test_unknown_keys_do_not_cause_repeated_fetches_J4(self, clock: Clock) -> None:
        issuer = Issuer("one")
        keys = KeySet(issuer.document)
        for number in range(100):
            with pytest.raises(InvalidToken):
                await keys.key(f"made up {number}")
        assert issuer.fetched == 1
        clock.now += KEY_FETCH_SECONDS_MIN
        for number in range(100):
            with pytest.raises(InvalidToken):
                await keys.key(f"made up {number}")
        assert issuer.fetched == 2

    async def test_cached_keys_are_used_while_the_issuer_is_unreachable(self, clock: Clock) -> None:
        issuer = Issuer("one")
        keys = KeySet(issuer.document)
        await keys.key("one")
        issuer.reachable = False
        clock.now += KEY_LIFE_SECONDS + 1
        for _ in range(10):
            assert (await keys.key("one")).key_id == "one"
        assert issuer.fetched == 2  # fetched again, but not by every request
        issuer.reachable = True
        issuer.names = ["two"]
        clock.now += KEY_FETCH_SECONDS_MIN
        with pytest.raises(InvalidToken):
            await keys.key("one")

    async def test_key_set_without_keys_is_unavailable_and_fetches_again(self, clock: Clock) -> None:
        issuer = Issuer("one")
        issuer.reachable = False
        keys = KeySet(issuer.document)
        with pytest.raises(Unavailable):
            await keys.key("one")
        issuer.reachable = True

        assert (await keys.key("one")).key_id == "one"

    @pytest.mark.parametrize("key_id", [None, 7, [], {}, True])
    async def test_key_id_that_is_not_text_is_refused(self, key_id: object) -> None:
        issuer = Issuer("one")
        with pytest.raises(InvalidToken):
            await KeySet(issuer.document).key(key_id)

        assert issuer.fetched == 0

    async def test_unusable_keys_are_ignored(self, clock: Clock) -> None:
        curve = ec.generate_private_key(ec.SECP256R1()).public_key()
        issuer = Issuer("one")
        issuer.extra = [
            "no key",
            None,
            {},
            {"kty": "oct", "k": "c2VjcmV0", "kid": "shared"},
            {"kty": "RSA", "kid": "empty"},
            {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
            {"kty": "RSA", "kid": ["a"], "n": published("two")["n"], "e": "AQAB"},
            published("two", kid="for encryption", use="enc"),
            {**jwt.algorithms.ECAlgorithm.to_jwk(curve, as_dict=True), "kid": "curve"},
        ]
        keys = KeySet(issuer.document)

        assert (await keys.key("one")).key_id == "one"
        for key_id in ("shared", "empty", "broken", "for encryption", "curve"):
            with pytest.raises(InvalidToken):
                await keys.key(key_id)

    @pytest.mark.parametrize("document", [None, [], "keys", {}, {"keys": None}, {"keys": {}}])
    async def test_document_without_keys_does_not_discard_cached_keys(
        self, clock: Clock, document: Any
    ) -> None:
        answers = [{"keys": [published("one")]}, document]

        async def fetch() -> Any:
            return answers.pop(0)

        keys = KeySet(fetch)
        await keys.key("one")
        clock.now += KEY_LIFE_SECONDS + 1

        assert (await keys.key("one")).key_id == "one"
        assert answers == []


class TestTokenVerifier:
    async def test_caller_is_read_from_the_claims(self, make_verifier: Callable[..., TokenVerifier]) -> None:
        verifier = make_verifier(Issuer("one"))
        good = signed_by("one", sub="7", role="admin", username="ann", sid="s", scope="read write")
        caller = await verifier.verify(good)

        assert (caller.id, caller.role, caller.username, caller.session_id) == ("7", "admin", "ann", "s")
        assert caller.scopes == {"read", "write"}
        assert caller.is_admin

    async def test_verified_token_is_cached_until_it_expires(
        self, make_verifier: Callable[..., TokenVerifier], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        issuer = Issuer("one")
        verifier = make_verifier(issuer)
        good = signed_by("one")
        assert verifier.remembered(good) is None
        caller = await verifier.verify(good)

        assert verifier.remembered(good) is caller
        assert await verifier.verify(good) is caller
        later = time.time() + TOKEN_SECONDS + LEEWAY_SECONDS + 1
        monkeypatch.setattr("time.time", lambda: later)
        assert verifier.remembered(good) is None
        assert not verifier._verified

    async def test_number_of_cached_tokens_is_limited(
        self, make_verifier: Callable[..., TokenVerifier], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert VERIFIED_TOKENS_MAX == 10_000
        monkeypatch.setattr(shared.identity.tokens, "VERIFIED_TOKENS_MAX", 3)
        verifier = make_verifier(Issuer("one"))
        tokens = [signed_by("one", sub=str(number)) for number in range(5)]
        for one in tokens:
            await verifier.verify(one)

        assert [verifier.remembered(one) is not None for one in tokens] == [False, False, True, True, True]

    async def test_refused_token_is_not_cached(self, make_verifier: Callable[..., TokenVerifier]) -> None:
        verifier = make_verifier(Issuer("one"))
        for bad in (signed_by("two", kid="one"), "x", "x" * 9000, ""):
            with pytest.raises(InvalidToken):
                await verifier.verify(bad)

        assert not verifier._verified

    async def test_tokens_of_both_keys_are_accepted_after_a_rotation(
        self, make_verifier: Callable[..., TokenVerifier], clock: Clock
    ) -> None:
        issuer = Issuer("one")
        verifier = make_verifier(issuer)
        await verifier.verify(signed_by("one"))
        issuer.names = ["two", "one"]
        clock.now += KEY_FETCH_SECONDS_MIN

        await verifier.verify(signed_by("two"))
        await verifier.verify(signed_by("one"))

    @pytest.mark.parametrize(
        "claims",
        [
            {"exp": -LEEWAY_SECONDS - 5},
            {"nbf": 3600},
            {"iat": 3600},
            {"iss": "somebody"},
            {"aud": "somebody"},
            {"sub": None},
            {"exp": None},
            {"iat": None},
            {"iss": None},
            {"aud": None},
            {"sub": ""},
            {"sub": "\x00"},
            {"sub": "\ud800"},
            {"role": None, "exp": 10**400},
            {"role": 7},
        ],
    )
    @pytest.mark.conforms("RFC 9068 4")
    async def test_invalid_claims_with_a_valid_signature_are_refused_J3(
        self, make_verifier: Callable[..., TokenVerifier], claims: dict[str, Any]
    ) -> None:
        with pytest.raises(InvalidToken):
            await make_verifier(Issuer("one")).verify(signed_by("one", **_from_now(claims)))

    @pytest.mark.parametrize("claims", [{"exp": -5}, {"iat": 20}])
    @pytest.mark.conforms("RFC 7519 4.1.4")
    async def test_small_clock_differences_are_tolerated_J3(
        self, make_verifier: Callable[..., TokenVerifier], claims: dict[str, Any]
    ) -> None:
        await make_verifier(Issuer("one")).verify(signed_by("one", **_from_now(claims)))

    @pytest.mark.conforms("RFC 8725 3.1")
    async def test_public_key_is_not_accepted_as_a_shared_secret_J1(
        self, make_verifier: Callable[..., TokenVerifier]
    ) -> None:
        issuer = Issuer("one")
        verifier = make_verifier(issuer)
        pem = (
            ISSUER_KEYS["one"]
            .public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        claims = jwt.decode(token(), options={"verify_signature": False})
        for secret in (pem, pem.strip(), published("one")["n"].encode()):
            header = _encode({"alg": "HS256", "kid": "one"}) + "." + _encode(claims)
            forged = f"{header}.{_hs256(header, secret)}"
            with pytest.raises(InvalidToken):
                await verifier.verify(forged)

    async def test_configuration_chooses_the_algorithm_J1(
        self, make_verifier: Callable[..., TokenVerifier]
    ) -> None:
        issuer = Issuer("one")
        with_keys, with_secret = make_verifier(issuer), make_verifier(issuer, jwt_secret=TEST_JWT_SECRET)
        await with_secret.verify(token())
        await with_keys.verify(signed_by("one"))

        fetched = issuer.fetched
        with pytest.raises(InvalidToken):
            await with_secret.verify(signed_by("one"))
        assert issuer.fetched == fetched
        for foreign in (token(), _with_key_id(token(), "one")):
            with pytest.raises(InvalidToken):
                await with_keys.verify(foreign)

    async def test_other_encodings_of_a_token_are_refused(
        self, make_verifier: Callable[..., TokenVerifier]
    ) -> None:
        verifier = make_verifier(Issuer("one"))
        good = signed_by("one")
        await verifier.verify(good)
        for spelling in (
            good + "=",
            good + "==",
            good + "\n",
            good + ".",
            " " + good,
            good.replace(".", "=."),
        ):
            with pytest.raises(InvalidToken):
                await verifier.verify(spelling)

    @pytest.mark.parametrize("kind", ["at+jwt", "AT+JWT", "application/at+jwt"])
    async def test_token_declared_as_an_access_token_is_accepted(
        self, make_verifier: Callable[..., TokenVerifier], kind: str
    ) -> None:
        claims = jwt.decode(token(), options={"verify_signature": False})
        text = jwt.encode(claims, TEST_JWT_SECRET, algorithm="HS256", headers={"typ": kind})

        assert (await make_verifier(Issuer(), jwt_secret=TEST_JWT_SECRET).verify(text)).id == claims["sub"]

    @pytest.mark.parametrize("kind", ["JWT", "jwt", "", "at", "logout+jwt", None, 1, ["at+jwt"]])
    async def test_other_token_types_are_refused(
        self, make_verifier: Callable[..., TokenVerifier], kind: object
    ) -> None:
        _, claims, _ = token().split(".")
        header = {"alg": "HS256"} | ({} if kind is None else {"typ": kind})
        signed = f"{_encode(header)}.{claims}"
        with pytest.raises(InvalidToken):
            await make_verifier(Issuer(), jwt_secret=TEST_JWT_SECRET).verify(
                f"{signed}.{_hs256(signed, TEST_JWT_SECRET.encode())}"
            )

    @pytest.mark.parametrize("where", ["header", "claims"])
    async def test_duplicate_member_is_refused(
        self, make_verifier: Callable[..., TokenVerifier], where: str
    ) -> None:
        import json

        claims = json.dumps(jwt.decode(token(), options={"verify_signature": False}))
        parts = {"header": '{"alg": "HS256", "typ": "at+jwt"}', "claims": claims}
        for doubled in (False, True):
            if doubled:
                parts[where] = parts[where][:-1] + ', "typ": "at+jwt", "typ": "at+jwt"}'
            signed = ".".join(jwt.utils.base64url_encode(part.encode()).decode() for part in parts.values())
            text = f"{signed}.{_hs256(signed, TEST_JWT_SECRET.encode())}"
            if doubled:
                with pytest.raises(InvalidToken):
                    await make_verifier(Issuer(), jwt_secret=TEST_JWT_SECRET).verify(text)
            else:
                await make_verifier(Issuer(), jwt_secret=TEST_JWT_SECRET).verify(text)

    async def test_longest_token_is_accepted_and_a_longer_one_refused(
        self, make_verifier: Callable[..., TokenVerifier]
    ) -> None:
        verifier = make_verifier(Issuer(), jwt_secret=TEST_JWT_SECRET)
        texts = {len(text): text for text in (token(note="x" * number) for number in range(5_500, 6_200))}

        await verifier.verify(texts[TOKEN_BYTES_MAX])
        for longer in (TOKEN_BYTES_MAX + 1, TOKEN_BYTES_MAX + 2):
            with pytest.raises(InvalidToken):
                await verifier.verify(texts.get(longer, texts[TOKEN_BYTES_MAX] + "A"))


class TestAccess:
    def test_admin_access_depends_on_the_role(self) -> None:
        admin(caller("admin"))
        with pytest.raises(Forbidden):
            admin(caller("user"))
        with pytest.raises(Unauthenticated):
            admin(None)


@pytest.mark.parametrize(
    ("site", "origin", "expected"),
    [
        ("same-origin", None, True),
        ("same-origin", "https://other.example", True),
        ("same-site", "https://own.example", False),
        ("cross-site", "https://own.example", False),
        ("none", None, False),
        (None, "https://own.example", True),
        (None, "https://other.example", False),
        (None, "null", False),
        (None, None, False),
    ],
)
def test_request_is_from_our_own_page(site: str | None, origin: str | None, expected: bool) -> None:
    assert is_same_origin(site, origin, "https://own.example") is expected


class TestBearerToken:
    def test_bearer_token_is_read_from_the_header(self) -> None:
        assert bearer_token(None) is None
        assert bearer_token("Bearer a.b.c") == "a.b.c"
        assert bearer_token("bearer a.b.c") == "a.b.c"

    @pytest.mark.parametrize(
        "header", ["", "Bearer", "Bearer ", "Basic eDp5", "a.b.c", "Bearer  a", "Bearer a b"]
    )
    def test_other_authorization_headers_are_refused(self, header: str) -> None:
        with pytest.raises(InvalidToken):
            bearer_token(header)


def caller(role: str) -> Caller:
    return Caller("one", role, None, None, None, frozenset(), 0.0)


def _from_now(claims: dict[str, Any]) -> dict[str, Any]:
    """Convert times given in seconds from now to timestamps."""
    times = {name: int(time.time()) + claims[name] for name in ("exp", "nbf", "iat") if claims.get(name)}
    return claims | times


def _with_key_id(text: str, key_id: str) -> str:
    claims = jwt.decode(text, options={"verify_signature": False})
    return jwt.encode(claims, TEST_JWT_SECRET, algorithm="HS256", headers={"kid": key_id, "typ": "at+jwt"})


def _encode(value: dict[str, Any]) -> str:
    import json

    return jwt.utils.base64url_encode(json.dumps(value).encode()).decode()


def _hs256(signed: str, secret: bytes) -> str:
    import hmac

    return jwt.utils.base64url_encode(hmac.digest(secret, signed.encode(), "sha256")).decode()
