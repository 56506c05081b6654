"""The two kinds of tokens: signed access tokens, and opaque refresh tokens."""

import base64
import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from services.auth.keys.signing_keys import SigningKeys
from services.auth.models import Account, Role
from services.auth.settings import Settings
from shared.hashing import derived_key
from shared.ids import new_id

SECRET_BYTES = 32
TWO = 2
SECOND_FACTORS = frozenset(("otp", "recovery", "hwk", "mca"))  # values of `amr`
_SESSION_BYTES = 16
_SEAL_BYTES = 16


class AccessTokens:
    """Signs access tokens, which every service verifies by itself."""

    def __init__(self, settings: Settings, keys: SigningKeys) -> None:
        self.lifetime_seconds = settings.access_token_seconds
        self._issuer = settings.jwt_issuer
        self._audience = settings.jwt_audience
        self._admins_need_factor = settings.admins_need_second_factor
        self._keys = keys

    def issue(self, account: Account, session_id: str, authenticated: datetime, amr: str | None) -> str:
        """Issue a token for a person, who may do everything that their role allows."""
        return self.sign(
            {
                "iss": self._issuer,
                "aud": self._audience,
                "sid": session_id,
                **sign_in_claims(authenticated, amr),
                **self.claims_of(account, factors_of(amr)),
            }
        )

    def issue_for_key(self, account: Account, key_id: str, scope: str, seconds: int, *, factors: int) -> str:
        """Issue a token for a program with a personal access token, limited to its scopes.

        `factors` are those of the sign-in in which the key was created.
        """
        whose = self.claims_of(account, factors)
        own = {"iss": self._issuer, "aud": self._audience, "client_id": f"pat_{key_id}"}
        return self.sign({**own, "scope": scope, "sid": key_id, **whose}, seconds)

    def claims_of(self, account: Account, factors: int) -> dict[str, Any]:
        """Return the claims about an account that has signed in with this many factors.

        If admins need two factors, an admin who has shown only one gets the role `user`.
        """
        whose = claims_of(account)
        if self._admins_need_factor and account.role == Role.ADMIN and factors < TWO:
            whose |= {"role": Role.USER, "withheld_role": Role.ADMIN}
        return whose

    def issue_for_admin(self, account: Account, session_id: str, admin_id: str, seconds: int) -> str:
        """Issue a token for an admin who impersonates the account (`act`, RFC 8693); it is not a sign-in."""
        own = {"iss": self._issuer, "aud": self._audience, "sid": session_id, "act": {"sub": admin_id}}
        return self.sign({**own, **claims_of(account)}, min(seconds, self.lifetime_seconds))

    def sign(self, claims: dict[str, Any], seconds: int | None = None) -> str:
        """Sign these claims together with new times and a new id; claims that are None are omitted."""
        now = int(time.time())
        times = {"iat": now, "exp": now + (seconds or self.lifetime_seconds), "jti": new_id()}
        return self._keys.sign({name: value for name, value in (claims | times).items() if value is not None})


def sign_in_claims(authenticated: datetime, amr: str | None) -> dict[str, Any]:
    """Return the claims on when and how the person signed in; `acr` is the number of factors."""
    methods = (amr or "pwd").split()
    return {"auth_time": int(authenticated.timestamp()), "acr": str(factors_of(amr)), "amr": methods}


def factors_of(amr: str | None) -> int:
    """Return the number of factors that these methods amount to."""
    return TWO if SECOND_FACTORS.intersection((amr or "").split()) else 1


def claims_of(account: Account) -> dict[str, Any]:
    """Return the claims on the account."""
    return {
        "sub": account.id,
        "user_id": account.id,
        "username": account.username,
        "email": account.email,
        "role": account.role,
        "ver": account.token_version,
    }


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """The id of a session and a 256-bit secret that only its owner knows."""

    session_id: str
    secret: bytes

    @property
    def hash(self) -> str:
        """The hash stored in the database."""
        return hashlib.sha256(self.secret).hexdigest()


class RefreshTokens:
    """Creates and reads refresh tokens, and derives their successors.

    A token contains a MAC, so that a forged token for a known session differs from an old one and cannot end
    that session. Its successor is derived with a key that only this service has, so a repeated request gets
    the same successor, and only hashes are stored.
    """

    def __init__(self, key_secret: str, kind: str = "refresh token") -> None:
        self._seal_key = derived_key(key_secret, f"{kind} seals")
        self._successor_key = derived_key(key_secret, f"{kind} successors")

    def first(self, session_id: str) -> RefreshToken:
        return RefreshToken(session_id, secrets.token_bytes(SECRET_BYTES))

    def successor(self, token: RefreshToken) -> RefreshToken:
        return RefreshToken(token.session_id, hmac.digest(self._successor_key, _content(token), "sha256"))

    def write(self, token: RefreshToken) -> str:
        return base64.urlsafe_b64encode(_content(token) + self._seal(token)).decode().rstrip("=")

    def read(self, text: str) -> RefreshToken | None:
        """Parse a token; None unless this service has issued it."""
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except ValueError:
            return None
        if len(raw) != _SESSION_BYTES + SECRET_BYTES + _SEAL_BYTES:
            return None
        session_id = str(UUID(bytes=raw[:_SESSION_BYTES]))
        token = RefreshToken(session_id, raw[_SESSION_BYTES:-_SEAL_BYTES])
        return token if hmac.compare_digest(raw[-_SEAL_BYTES:], self._seal(token)) else None

    def _seal(self, token: RefreshToken) -> bytes:
        return hmac.digest(self._seal_key, _content(token), "sha256")[:_SEAL_BYTES]


def _content(token: RefreshToken) -> bytes:
    return UUID(token.session_id).bytes + token.secret
