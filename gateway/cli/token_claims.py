"""The checks that a verifier makes on an access token, one by one, as pure functions."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeGuard

import jwt

from shared.identity.tokens import ACCESS_TOKEN_TYPES, LEEWAY_SECONDS, REQUIRED_CLAIMS, TOKEN_BYTES_MAX
from shared.identity.unverified import Unverified

SHOWN = ("sub", "username", "role", "client_id", "scope", "sid", "acr", "auth_time", "iss", "aud", "jti")


class Finding(NamedTuple):
    """A fact about a credential; `refuses` names the party that would refuse it for this reason."""

    name: str
    words: str
    refuses: str = ""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the verifiers of this suite expect of a token."""

    issuers: Sequence[str]
    audience: str
    secret: str | None = field(repr=False)  # for HS256; None means RS256 with one of the keys
    keys: Mapping[str, jwt.PyJWK] = field(default_factory=dict)

    @property
    def algorithm(self) -> str:
        return "RS256" if self.secret is None else "HS256"


def kind_of(token: Unverified) -> str:
    kind, audience = token.header.get("typ"), token.claims.get("aud")
    if isinstance(kind, str) and kind.lower() in ACCESS_TOKEN_TYPES:
        is_of_program = "client_id" in token.claims
        return "access token of a program" if is_of_program else "access token of a person who signed in"
    if isinstance(audience, str) and audience.startswith("internal:"):
        return "token between services, which the gateway never accepts"
    if kind == "JWT":
        return "ID token: it tells a client who signed in, and grants no access"
    return f"JWT of another kind (typ {_text(kind)})"


def about(token: Unverified) -> Iterator[Finding]:
    """List what the token claims."""
    yield Finding(
        "header",
        ", ".join(
            f"{name} {_text(token.header[name])}" for name in ("typ", "alg", "kid") if name in token.header
        ),
    )
    for name in SHOWN:
        if name in token.claims:
            yield Finding("claim", f"{name}: {_text(token.claims[name])}")


def check(text: str, token: Unverified, expected: Expected, moment: float) -> Iterator[Finding]:
    """Run the checks of the gateway and the services, in their order."""
    if len(text) > TOKEN_BYTES_MAX:
        yield _refused("size", f"{len(text)} bytes; at most {TOKEN_BYTES_MAX} are read")
    kind = token.header.get("typ")
    if not isinstance(kind, str) or kind.lower() not in ACCESS_TOKEN_TYPES:
        yield _refused("type", f"typ is {_text(kind)}; access tokens have typ {ACCESS_TOKEN_TYPES[0]}")
    yield _signature(text, token, expected)
    missing = [name for name in REQUIRED_CLAIMS if token.claims.get(name) is None]
    if missing:
        yield _refused("claims", f"it lacks {', '.join(missing)}")
    issuer, audience = token.claims.get("iss"), token.claims.get("aud")
    if issuer not in expected.issuers:
        yield _refused("issuer", f"{_text(issuer)}; this suite accepts {' or '.join(expected.issuers)}")
    if expected.audience not in (audience if isinstance(audience, list) else [audience]):
        yield _refused("audience", f"{_text(audience)}; services of this suite require {expected.audience}")
    yield from _times(token.claims, moment)


def _signature(text: str, token: Unverified, expected: Expected) -> Finding:
    algorithm, key_id = token.header.get("alg"), token.header.get("kid")
    if algorithm != expected.algorithm:
        return _refused(
            "signature", f"alg is {_text(algorithm)}; this suite signs with {expected.algorithm} only"
        )
    key: Any = expected.secret
    if expected.secret is None:
        key = expected.keys.get(key_id) if isinstance(key_id, str) else None
    if key is None:
        return _refused(
            "signature",
            f"no key {_text(key_id)} is published: it was retired or killed, or belongs to another suite",
        )
    try:
        jwt.decode(text, key, algorithms=[expected.algorithm], options=_SIGNATURE_ONLY)
    except jwt.InvalidSignatureError:
        words = (
            "it does not match the key" if expected.secret is None else "it was made with another JWT_SECRET"
        )
        return _refused("signature", words)
    except (jwt.PyJWTError, TypeError, ValueError) as error:
        return _refused("signature", f"it cannot be verified: {error}")
    return Finding("signature", "valid")


def _times(claims: Mapping[str, Any], moment: float) -> Iterator[Finding]:
    expires = claims.get("exp")
    if _is_time(expires):
        ago = moment - expires
        if ago >= LEEWAY_SECONDS:
            yield _refused(
                "expiry", f"expired {_moment(expires)}, {_span(ago)} ago: refresh it, or sign in again"
            )
        else:
            yield Finding(
                "expiry",
                f"{_moment(expires)}, in {_span(-ago)}" if ago < 0 else "a moment ago, within the leeway",
            )
    for name in ("iat", "nbf"):
        since = claims.get(name)
        if _is_time(since) and since - moment > LEEWAY_SECONDS:
            yield _refused("clock", f"{name} is {_span(since - moment)} in the future: the clocks differ")


def _refused(name: str, words: str) -> Finding:
    return Finding(name, words, "gateway and services: 401 invalid_token")


def _is_time(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e11


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _text(value: object) -> str:
    """Format an untrusted value on one line of limited length, without control characters."""
    return json.dumps(value, ensure_ascii=True)[:300].strip('"')


_SIGNATURE_ONLY: Any = {f"verify_{name}": False for name in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")}
