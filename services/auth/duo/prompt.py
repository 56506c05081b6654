"""Duo's Universal Prompt: the redirect to it, and the result that Duo signs.

These are the three calls of Duo's SDK, made with the guarded client: with a deadline, a limit on the response
and a circuit breaker, none of which the SDK has.
"""

import hmac
import time
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlencode

import jwt

from services.auth.errors import DuoDown, DuoUntrusted
from services.auth.providers.person import Secrets
from services.auth.providers.refusals import Refused, down
from services.auth.settings import Settings
from shared.ids import new_id
from shared.peers.outbound import BadAddress, CallFailed, Outbound

CALL_SECONDS_MAX = 5.0
RESPONSE_BYTES_MAX = 64 * 1024
REQUEST_SECONDS = 300  # the longest that Duo accepts
LEEWAY_SECONDS = 60
_ALGORITHM = "HS512"
_KEY_BYTES = 64
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_FORM = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
_REQUIRED = ["iss", "aud", "exp", "iat", "nonce", "preferred_username"]
_OUTAGES = frozenset(("unreachable", "unknown_host", "late", "broken"))
_NOT_CALLED = frozenset(("resting", "busy"))


class Unreachable(Refused):
    """Duo cannot be reached, or responds with 5xx: roles may be allowed to sign in without it."""


class Prompt(Protocol):
    """A second factor that is confirmed on another site. Its methods raise `Refused`."""

    async def url(self, name: str, secrets: Secrets, redirect_uri: str) -> str:
        """Return the URL to redirect the browser to, if the other site is up."""

    async def require_allowed(self, code: str, name: str, secrets: Secrets, redirect_uri: str) -> None:
        """Exchange the code; raise unless it proves that this person was allowed just now."""

    async def aclose(self) -> None:
        """Close the connections."""


class DuoPrompt:
    """The prompt of one Duo application. Every failure refuses the sign-in."""

    def __init__(self, settings: Settings) -> None:
        self._client_id = settings.duo_ikey
        secret = settings.duo_skey.get_secret_value() if settings.duo_skey else ""
        # HMAC pads short keys with zero bytes anyway. Padding here stops PyJWT's warning about Duo's 40
        # bytes.
        self._key = secret.encode().ljust(_KEY_BYTES, b"\0")
        self._origin = f"https://{settings.duo_api_hostname}"
        self._is_out = False  # whether the last call failed because of an outage
        self._outbound = Outbound(
            settings, "duo", seconds_max=CALL_SECONDS_MAX, answer_bytes_max=RESPONSE_BYTES_MAX
        )

    async def url(self, name: str, secrets: Secrets, redirect_uri: str) -> str:
        endpoint = f"{self._origin}/oauth/v1/health_check"
        proof = {"client_id": self._client_id, "client_assertion": self._assertion(endpoint)}
        status, health = await self._post(endpoint, proof)
        if status != 200 or health.get("stat") != "OK":
            raise _down("duo_not_healthy")
        asked = {
            "scope": "openid",
            "redirect_uri": redirect_uri,
            "client_id": self._client_id,
            "iss": self._client_id,
            "aud": self._origin,
            "exp": int(time.time()) + REQUEST_SECONDS,
            "state": secrets.state,
            "response_type": "code",
            "duo_uname": name,
            "use_duo_code_attribute": True,
        }
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "request": jwt.encode(asked, self._key, algorithm=_ALGORITHM),
            "nonce": secrets.nonce,
        }
        return f"{self._origin}/oauth/v1/authorize?{urlencode(query)}"

    async def require_allowed(self, code: str, name: str, secrets: Secrets, redirect_uri: str) -> None:
        endpoint = f"{self._origin}/oauth/v1/token"
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "client_id": self._client_id,
            "client_assertion_type": _ASSERTION,
            "client_assertion": self._assertion(endpoint),
        }
        status, tokens = await self._post(endpoint, fields)
        if status != 200:
            raise Refused(DuoUntrusted(), "duo_refused_the_code")
        claims = self._verified(tokens.get("id_token"), endpoint)
        _require_same("duo_wrong_user", claims["preferred_username"], name)
        _require_same("duo_wrong_nonce", claims["nonce"], secrets.nonce)
        result = claims.get("auth_result")
        if not isinstance(result, dict) or result.get("result") != "allow":
            raise Refused(DuoUntrusted(), "duo_did_not_allow")

    async def aclose(self) -> None:
        await self._outbound.close()

    def _assertion(self, endpoint: str) -> str:
        now = int(time.time())
        claims = {
            "iss": self._client_id,
            "sub": self._client_id,
            "aud": endpoint,
            "iat": now,
            "exp": now + REQUEST_SECONDS,
            "jti": new_id(),
        }
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM)

    async def _post(self, url: str, fields: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        """Return the status and the JSON object of the response."""
        try:
            response = await self._outbound.call("POST", url, body=urlencode(fields).encode(), headers=_FORM)
        except BadAddress as error:
            self._is_out = False
            raise _down("duo_address_refused") from error
        except CallFailed as error:
            if error.reason not in _NOT_CALLED:
                self._is_out = error.reason in _OUTAGES
            is_out = self._is_out and error.reason != "busy"
            raise _down(f"duo_{error.reason}", error.retry_after, is_out=is_out) from error
        self._is_out = response.status >= 500
        if self._is_out or response.status == 429:
            raise _down(f"duo_status_{response.status}", response.retry_after, is_out=self._is_out)
        try:
            body = response.json()
        except CallFailed as error:
            raise _down(f"duo_{error.reason}") from error
        return response.status, body if isinstance(body, dict) else {}

    def _verified(self, token: object, issuer: str) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                token if isinstance(token, str) else "",
                self._key,
                algorithms=[_ALGORITHM],
                audience=self._client_id,
                issuer=issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": _REQUIRED},
            )
        except (jwt.PyJWTError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise Refused(DuoUntrusted(), "duo_bad_token") from error
        return claims


def _down(reason: str, retry_after: float | None = None, *, is_out: bool = False) -> Refused:
    problem = DuoDown(headers=down(reason, retry_after).problem.headers)
    return (Unreachable if is_out else Refused)(problem, reason)


def _require_same(reason: str, shown: object, expected: str) -> None:
    if not isinstance(shown, str) or not hmac.compare_digest(shown.encode(), expected.encode()):
        raise Refused(DuoUntrusted(), reason)
