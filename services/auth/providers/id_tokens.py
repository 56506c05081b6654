"""Verification of ID tokens (OpenID Connect Core section 3.1.3.7)."""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt
from jwt.types import Options

from services.auth.providers.refusals import Refused, untrusted
from shared.identity.unverified import read_unverified

TOKEN_CHARACTERS_MAX = 16 * 1024
LEEWAY_SECONDS = 30
SUBJECT_CHARACTERS_MAX = 255
KEYS_MAX = 100
RSA_BITS_MIN, RSA_BITS_MAX = 2048, 8192
# The kind of key that belongs to each algorithm. None of them can be verified with a secret.
KEY_KINDS = {"RS256": "RSA", "PS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}
ALGORITHMS = frozenset(KEY_KINDS)
_HASHES = {"EdDSA": hashlib.sha512}  # for at_hash; SHA-256 for the others
_CURVES = {"EC": "P-256", "OKP": "Ed25519"}
_THREE_PARTS = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
_REQUIRED = ["iss", "sub", "aud", "exp", "iat"]
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (jwt.ExpiredSignatureError, "token_expired"),
    (jwt.ImmatureSignatureError, "token_not_yet_valid"),
    (jwt.InvalidIssuerError, "wrong_issuer"),
    (jwt.InvalidAudienceError, "wrong_audience"),
    (jwt.exceptions.InvalidSubjectError, "bad_subject"),
    (jwt.InvalidSignatureError, "wrong_signature"),
    (jwt.MissingRequiredClaimError, "claim_missing"),
    (jwt.InvalidAlgorithmError, "wrong_algorithm"),
)

Keys = Sequence[Mapping[str, Any]]


class UnknownKey(Exception):
    """The key set has no key for the token; a newer key set may have one."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Expected:
    """What the ID token of a sign-in must contain."""

    issuers: Sequence[str]
    client_id: str
    nonce: str
    algorithms: frozenset[str]
    access_token: str


def read_keys(document: Mapping[str, Any]) -> Keys:
    """Return the signing keys of a key set; others are ignored."""
    keys = document.get("keys")
    if not isinstance(keys, list) or len(keys) > KEYS_MAX:
        raise untrusted("bad_key_set")
    return [key for key in keys if isinstance(key, dict) and key.get("use", "sig") == "sig"]


def verified(token: str, keys: Keys, expected: Expected) -> dict[str, Any]:
    """Return the claims; raise UnknownKey if no key fits, and Refused with a reason in every other case."""
    header = _header(token)
    algorithm = header["alg"]
    if algorithm not in expected.algorithms:
        raise untrusted("wrong_algorithm")
    key = _key(keys, header.get("kid"), algorithm)
    options: Options = {"require": _REQUIRED}
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=expected.client_id,
            issuer=list(expected.issuers),
            leeway=LEEWAY_SECONDS,
            options=options,
        )
    except (jwt.PyJWTError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _refusal(error) from error
    _check(claims, algorithm, expected)
    return claims


def _header(token: str) -> dict[str, Any]:
    if len(token) > TOKEN_CHARACTERS_MAX or not _THREE_PARTS.fullmatch(token):
        raise untrusted("token_malformed")
    found = read_unverified(token)
    if found is None or not isinstance(found.header.get("alg"), str):
        raise untrusted("token_malformed")
    header = found.header
    kind = header.get("typ", "JWT")
    if "crit" in header or not isinstance(kind, str) or kind.upper() != "JWT":
        raise untrusted("token_of_another_kind")
    return header


def _key(keys: Keys, key_id: object, algorithm: str) -> jwt.PyJWK:
    """Return the key with this id; without an id, the only key that fits."""
    kind = KEY_KINDS[algorithm]
    fitting = [
        key
        for key in keys
        if key.get("kty") == kind
        and key.get("alg", algorithm) == algorithm
        and key.get("crv", _CURVES.get(kind)) == _CURVES.get(kind)
        and (key_id is None or key.get("kid") == key_id)
    ]
    if len(fitting) != 1:
        raise UnknownKey("key_id_missing" if key_id is None else "key_unknown")
    try:
        key = jwt.PyJWK(dict(fitting[0]), algorithm=algorithm)
    except (jwt.PyJWTError, TypeError, ValueError, OverflowError) as error:
        raise untrusted("bad_key") from error
    bits = getattr(key.key, "key_size", RSA_BITS_MIN)
    if kind == "RSA" and not RSA_BITS_MIN <= bits <= RSA_BITS_MAX:
        raise untrusted("bad_key")
    return key


def _check(claims: Mapping[str, Any], algorithm: str, expected: Expected) -> None:
    """Check what PyJWT does not."""
    subject, audience, nonce = claims["sub"], claims["aud"], claims.get("nonce")
    if not isinstance(subject, str) or not 1 <= len(subject) <= SUBJECT_CHARACTERS_MAX:
        raise untrusted("bad_subject")
    if not subject.isascii() or not subject.isprintable():
        raise untrusted("bad_subject")
    party = claims.get("azp")
    if party not in (None, expected.client_id) or (
        party is None and isinstance(audience, list) and len(audience) > 1
    ):
        raise untrusted("wrong_party")
    if nonce is None:
        raise untrusted("nonce_missing")
    if not isinstance(nonce, str) or not nonce.isascii() or not hmac.compare_digest(nonce, expected.nonce):
        raise untrusted("wrong_nonce")
    if not all(type(claims[name]) in (int, float) for name in ("exp", "iat")):
        raise untrusted("token_malformed")
    at_hash = claims.get("at_hash")
    if at_hash is not None and at_hash != _at_hash(expected.access_token, algorithm):
        raise untrusted("wrong_access_token")


def _at_hash(access_token: str, algorithm: str) -> str:
    digest = _HASHES.get(algorithm, hashlib.sha256)(access_token.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).decode().rstrip("=")


def _refusal(error: Exception) -> Refused:
    return untrusted(
        next((reason for kind, reason in _REASONS if isinstance(error, kind)), "token_malformed")
    )
