"""Token verification; tokens are never signed here."""

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import jwt
import structlog
from jwt.types import Options

from shared.caller import BROAD_SCOPES, HELD, Caller
from shared.errors import (
    Forbidden,
    Impersonated,
    InvalidToken,
    NotInteractive,
    SignInAgain,
    Unauthenticated,
    Unavailable,
)
from shared.identity.revocations import Revocations
from shared.identity.unverified import read_unverified
from shared.peers.client import HttpClient
from shared.process.settings import ProcessSettings

log = structlog.get_logger(__name__)

TOKEN_BYTES_MAX = 8 * 1024
LEEWAY_SECONDS = 30
VERIFIED_TOKENS_MAX = 10_000
KEY_FETCH_SECONDS_MIN = 10.0
KEY_LIFE_SECONDS = 300.0
REQUIRED_CLAIMS = ["sub", "exp", "iat", "iss", "aud"]
ACCESS_TOKEN_TYPES = ("at+jwt", "application/at+jwt")  # RFC 9068; no other token type is accepted
_THREE_PARTS = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)  # no padding, so a token has one encoding

# The `scope` of people's tokens before scopes were enforced; such tokens expire within a day.
UNLIMITED_BEFORE = "read write"

# Claims that are no longer needed once they have been checked.
_CHECKED = frozenset(("iss", "aud", "exp", "iat", "nbf", "scope"))

Access = Callable[[Caller | None], None]
FetchKeys = Callable[[], Awaitable[Any]]


def public(caller: Caller | None) -> None:
    """Allow everyone, with or without a token."""


def signed_in(caller: Caller | None) -> None:
    """Allow any account."""
    if caller is None:
        raise Unauthenticated


def admin(caller: Caller | None) -> None:
    """Allow accounts with the role admin."""
    signed_in(caller)
    if caller is None or caller.is_admin:
        return
    if caller.claim("withheld_role") == "admin":  # withheld until they sign in with a second factor
        raise SignInAgain(acr="2")
    raise Forbidden("This needs the role admin.")


def in_person(caller: Caller | None) -> None:
    """Allow any account, but no admin who impersonates it."""
    signed_in(caller)
    if caller is not None and caller.impersonator_id is not None:
        raise Impersonated


def person(caller: Caller | None) -> None:
    """Allow people who signed in, but no program or admin on their behalf."""
    in_person(caller)
    if caller is not None and caller.is_limited:
        raise NotInteractive


def person_or_nobody(caller: Caller | None) -> None:
    """Allow requests without a token, and people who signed in, but no program or admin on their behalf."""
    if caller is not None:
        person(caller)


def internal(caller: Caller | None) -> None:
    """Allow other services of the suite that send a token for this service, signed with INTERNAL_SECRET."""


class RevokedToken(InvalidToken):
    """The bearer token was revoked: its session or its account has changed. Sign in again."""


class TokenVerifier:
    """Turns bearer tokens into callers.

    Verified tokens are cached until they expire, so most requests cost only a few dictionary look-ups;
    revocation is checked every time. Keys come from the issuer's key set (RS256) or from JWT_SECRET
    (HS256); the configuration chooses the algorithm, never the token. `fetch_keys` replaces JWKS_URL as the
    source of the key set: the issuer reads it from its own database. A token must name at least one
    `audience`.
    """

    def __init__(
        self,
        settings: ProcessSettings,
        client: HttpClient,
        *,
        fetch_keys: FetchKeys | None = None,
        audience: Sequence[str] = (),
        revocations: Revocations | None = None,
    ) -> None:
        self._issuers = settings.issuers
        self._audience = audience or [settings.jwt_audience]
        self._secret = settings.jwt_secret.get_secret_value() if settings.jwt_secret else None
        self._keys = KeySet(fetch_keys or (lambda: client.get_json(settings.jwks_url)))
        self._verified: OrderedDict[str, Caller] = OrderedDict()
        self.revocations = (
            Revocations(strict=settings.revocation_mode == "strict") if revocations is None else revocations
        )
        self.revocations.on_key.append(self._keys.expect_another)

    def remembered(self, token: str) -> Caller | None:
        """Return the caller of a cached token that is still valid. Never waits."""
        caller = self._known(token)
        if caller is None or self.revocations.cover(caller) or not self.revocations.is_ready:
            return None
        return caller

    async def verify(self, token: str) -> Caller:
        """Return the caller of this token, or raise InvalidToken."""
        self.revocations.require_current()
        caller = self._known(token) or await self._verify(token)
        if self.revocations.cover(caller):
            raise RevokedToken
        return caller

    def _known(self, token: str) -> Caller | None:
        caller = self._verified.get(token)
        if caller is not None and caller.expires <= time.time():
            del self._verified[token]
            return None
        return caller

    async def _verify(self, token: str) -> Caller:
        if len(token) > TOKEN_BYTES_MAX or not _THREE_PARTS.fullmatch(token):
            raise InvalidToken
        caller = await self._read(token)
        # Revoked tokens are cached too, so that refusing them again needs no signature check.
        self._verified[token] = caller
        if len(self._verified) > VERIFIED_TOKENS_MAX:
            self._verified.popitem(last=False)
        return caller

    async def _read(self, token: str) -> Caller:
        try:
            header = _header(token)
            if self._secret is not None:
                return _caller(self._decode(token, self._secret, "HS256"))
            key = await self._keys.key(header.get("kid"))
            return _caller(self._decode(token, key, "RS256"), key.key_id)
        except (jwt.PyJWTError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InvalidToken from error

    def _decode(self, token: str, key: Any, algorithm: str) -> dict[str, Any]:
        options: Options = {"require": REQUIRED_CLAIMS, "strict_aud": False}
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=self._audience,
            issuer=self._issuers,
            leeway=LEEWAY_SECONDS,
            options=options,
        )
        return claims


class KeySet:
    """The issuer's public keys, fetched once for all waiters and kept while the issuer is down."""

    def __init__(self, fetch: FetchKeys) -> None:
        self._fetch = fetch
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched = self._tried = float("-inf")
        self._fetching = asyncio.Lock()

    def expect_another(self) -> None:
        """Fetch the key set at the next unknown key, however recent the last fetch is."""
        self._tried = float("-inf")

    async def key(self, key_id: object) -> jwt.PyJWK:
        if not isinstance(key_id, str):
            raise InvalidToken
        if key_id not in self._keys or time.monotonic() - self._fetched > KEY_LIFE_SECONDS:
            await self._refresh(key_id)
        if key_id not in self._keys:
            raise InvalidToken
        return self._keys[key_id]

    async def _refresh(self, key_id: str) -> None:
        async with self._fetching:
            now = time.monotonic()
            fresh = now - self._fetched < KEY_LIFE_SECONDS and key_id in self._keys
            if fresh or (self._keys and now - self._tried < KEY_FETCH_SECONDS_MIN):
                return
            self._tried = now
            try:
                self._keys = _public_keys(await self._fetch())
                self._fetched = now
            except Unavailable:
                if not self._keys:
                    raise


def _header(token: str) -> dict[str, Any]:
    """Return the header; refuse tokens that are not declared as access tokens."""
    found = read_unverified(token)
    kind = found.header.get("typ") if found else None
    if found is None or not isinstance(kind, str) or kind.lower() not in ACCESS_TOKEN_TYPES:
        raise InvalidToken
    return found.header


def bearer_token(authorization: str | None) -> str | None:
    """Return the token in an Authorization header; None without a header."""
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token or " " in token:
        raise InvalidToken("The Authorization header must read `Bearer <token>`.")
    return token


def _public_keys(document: Any) -> dict[str, jwt.PyJWK]:
    """Return the usable keys of a key set; others are ignored."""
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        log.error("key_set_unreadable")
        raise Unavailable
    return {key["kid"]: usable for key in keys if (usable := _usable(key)) is not None}


def _usable(key: Any) -> jwt.PyJWK | None:
    if not isinstance(key, dict) or key.get("kty") != "RSA" or key.get("use", "sig") != "sig":
        return None
    try:
        return jwt.PyJWK(key, algorithm="RS256") if isinstance(key.get("kid"), str) else None
    except (jwt.PyJWTError, TypeError, ValueError):
        log.warning("key_unusable", key_id=key["kid"])
        return None


def _caller(claims: Mapping[str, Any], key_id: str | None = None) -> Caller:
    subject, role = claims["sub"], claims.get("role", "user")
    if not _text(subject) or not isinstance(role, str):
        raise InvalidToken
    scopes = _scopes(claims)
    return Caller(
        id=subject,
        role=role,
        username=_text(claims.get("username")),
        email=_text(claims.get("email")),
        session_id=_text(claims.get("sid")),
        scopes=BROAD_SCOPES if scopes is None else scopes,
        is_limited=scopes is not None,
        expires=float(claims["exp"]) + LEEWAY_SECONDS,
        version=_version(claims.get("ver", 0)),
        token_id=_text(claims.get("jti")),
        client_id=_text(claims.get("client_id")),
        client_version=_version(claims.get("client_ver", 0)),
        key_id=key_id,
        claims={name: claims[name] for name in claims.keys() - HELD.keys() - _CHECKED},
    )


def _scopes(claims: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the scopes of the token; None if it is unlimited, like that of a person who signed in."""
    scope = claims.get("scope", UNLIMITED_BEFORE)
    if scope == UNLIMITED_BEFORE and "client_id" not in claims:
        return None
    return frozenset((_text(claims.get("scope")) or "").split())


def _version(value: object) -> int:
    if type(value) is not int:
        raise InvalidToken
    return value


def _text(value: object) -> str | None:
    """Return the value if it is text that a database can store."""
    if not isinstance(value, str) or "\x00" in value:
        return None
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate, which neither logs nor databases accept
        return None
    return value
