"""The issuer: its URL, the scopes it grants, and the tokens it signs."""

import hashlib
import hmac
import time
from base64 import urlsafe_b64encode
from datetime import datetime
from typing import Any

import jwt

from services.auth.clients.clients import KnownClient
from services.auth.clients.scopes import OF_IDENTITY, OFFLINE, OPENID, text, words
from services.auth.keys.signing_keys import SigningKeys
from services.auth.models import Account
from services.auth.oauth.errors import OAuthError
from services.auth.sessions.tokens import AccessTokens, factors_of, sign_in_claims
from services.auth.settings import Settings
from shared.hashing import derived_key

ASKED_SECONDS_MAX = 10 * 60
ROLE_OF_CLIENTS = "client"


class Issuer:
    """The issuer, shared by all endpoints of the OAuth server."""

    def __init__(self, settings: Settings, keys: SigningKeys, tokens: AccessTokens) -> None:
        self.url = settings.oauth_issuer
        self.lifetime_seconds = tokens.lifetime_seconds
        self.resources = settings.resources
        self._audience = settings.jwt_audience
        self._keys = keys
        self._tokens = tokens
        self._moment_key = derived_key(settings.key_secret.get_secret_value(), "authorization requests")

    @property
    def has_identity(self) -> bool:
        """Whether ID tokens are available: clients must verify them, so JWT_SECRET is not enough."""
        return self._keys.are_public

    def granted(self, client: KnownClient, wanted: str | None) -> frozenset[str]:
        """Return the scopes of a request; by default all of the client's except `offline_access`."""
        allowed = words(client.scopes) if self.has_identity else words(client.scopes) - {OPENID}
        scopes = allowed - {OFFLINE} if wanted is None else words(wanted)
        if not scopes or not scopes <= allowed:
            raise OAuthError("invalid_scope", f"The client may have: {text(allowed) or 'nothing'}.")
        return scopes

    def resource(self, wanted: str | None) -> str | None:
        """Return the requested resource (RFC 8707); None for this suite itself."""
        if wanted in (None, self.url, f"{self.url}/"):
            return None
        if wanted not in self.resources:
            raise OAuthError("invalid_target", "resource is not one that this server issues tokens for.")
        return wanted

    def access_token(
        self,
        client: KnownClient,
        scopes: frozenset[str],
        resource: str | None,
        *,
        account: Account | None = None,
        session_id: str | None = None,
        authenticated: datetime | None = None,
        amr: str | None = None,
    ) -> str:
        """Sign an access token (RFC 9068). Services accept it only if it grants more than identity."""
        is_identity = account is not None and scopes <= OF_IDENTITY
        whose: dict[str, Any] = {"sub": client.client_id, "role": ROLE_OF_CLIENTS}
        if account is not None:
            whose = self._tokens.claims_of(account, factors_of(amr))
        if is_identity:  # the client can read the token, and may not have been granted the e-mail address
            whose = {name: whose[name] for name in ("sub", "ver")}
        return self._tokens.sign(
            {
                **whose,
                "iss": self.url,
                "aud": resource or (self.url if is_identity else [self.url, self._audience]),
                "client_id": client.client_id,
                "client_ver": client.version,
                "scope": text(scopes),
                "sid": session_id,
                **({} if authenticated is None else sign_in_claims(authenticated, amr)),
            }
        )

    def id_token(
        self, client: KnownClient, account: Account, access_token: str, nonce: str | None, **claims: Any
    ) -> str:
        moment = int(time.time())
        digest = hashlib.sha256(access_token.encode()).digest()[:16]
        payload = {
            "iss": self.url,
            "sub": account.id,
            "aud": client.client_id,
            "iat": moment,
            "exp": moment + self.lifetime_seconds,
            "at_hash": urlsafe_b64encode(digest).decode().rstrip("="),
            "nonce": nonce,
            **claims,
        }
        return self._keys.sign({name: value for name, value in payload.items() if value is not None}, "JWT")

    async def read_id_token(self, token: str) -> dict[str, Any] | None:
        """Return the claims of an ID token issued here, even if expired; None for anything else."""
        try:
            header = jwt.get_unverified_header(token)
            key = await self._keys.public_key(header.get("kid"))
            if key is None or header.get("typ") != "JWT":
                return None
            claims: dict[str, Any] = jwt.decode(
                token,
                jwt.PyJWK(key, algorithm="RS256"),
                algorithms=["RS256"],
                issuer=self.url,
                options={"verify_exp": False, "verify_aud": False, "require": ["iss", "sub", "aud"]},
            )
        except (jwt.PyJWTError, TypeError, ValueError, RecursionError):
            return None
        return claims if isinstance(claims["aud"], str) and isinstance(claims["sub"], str) else None

    def write_moment(self, client_id: str) -> str:
        """Return the current time, signed by this server (HMAC) for one client."""
        moment = str(int(time.time() * 1000))
        return f"{moment}.{self._seal(moment, client_id)}"

    def read_moment(self, text: str | None, client_id: str) -> float | None:
        """Read a timestamp from write_moment, as Unix seconds; None if it is not the client's, or too old."""
        moment, _, seal = (text or "").partition(".")
        if not seal.isascii() or not hmac.compare_digest(seal, self._seal(moment, client_id)):
            return None
        seconds = int(moment) / 1000
        return seconds if time.time() - seconds < ASKED_SECONDS_MAX else None

    def _seal(self, moment: str, client_id: str) -> str:
        return hmac.new(self._moment_key, f"{moment} {client_id}".encode(), "sha256").hexdigest()
