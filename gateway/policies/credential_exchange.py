"""Exchanges opaque credentials (session cookies, personal access tokens) for access tokens, at auth.

Services only know bearer tokens. An access token is cached until shortly before it expires. Every request
checks whether it was revoked, so an ended session is refused within a second, like any other token.
"""

import time
from collections import OrderedDict
from contextlib import suppress
from typing import Any

from shared.caller import Caller
from shared.errors import InvalidToken
from shared.identity.tokens import TokenVerifier
from shared.peers.client import HttpClient, InternalTokens
from shared.process.settings import ProcessSettings

EXCHANGE = "/internal/exchange"
CREDENTIAL_BYTES_MAX = 200
KEPT_MAX = 10_000
SPARE_SECONDS = 30.0
ACCESS_KEY = "gatehouse_pat_"  # prefix of personal access tokens


class CredentialExchange:
    """The access tokens of recently presented credentials."""

    def __init__(self, settings: ProcessSettings, client: HttpClient) -> None:
        self._url = settings.auth_url.rstrip("/") + EXCHANGE
        self._client = client
        self._internal = InternalTokens(settings)
        self._kept: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    def remembered(self, credential: bytes) -> str | None:
        """Return the token of a credential that was exchanged before. Never waits."""
        token, until = self._kept.get(credential, ("", 0.0))
        return token if until > time.monotonic() else None

    async def caller_of(self, credential: bytes, verifier: TokenVerifier) -> tuple[str, Caller]:
        """Return the token that a credential is exchanged for, and its caller.

        If a cached token is refused, the credential is exchanged once more, so sessions survive a killed
        signing key.
        """
        cached = self.remembered(credential)
        if cached is not None:
            with suppress(InvalidToken):
                return cached, await verifier.verify(cached)
        token = await self.exchange(credential)
        return token, await verifier.verify(token)

    async def exchange(self, credential: bytes) -> str:
        """Return a new token for this credential; raises PeerRefusal if auth does not accept it."""
        asked = time.monotonic()
        answer: dict[str, Any] = await self._client.request(
            "POST",
            self._url,
            body={"credential": credential.decode("latin-1")},
            headers={"Authorization": f"Bearer {self._internal.issue('auth')}"},
        )
        token: str = answer["token"]
        self.keep(credential, token, asked + answer["expires_in"])
        return token

    def keep(self, credential: bytes, token: str, expires: float) -> None:
        """Remember a token until shortly before it expires, on the monotonic clock."""
        self._kept[credential] = (token, expires - SPARE_SECONDS)
        self._kept.move_to_end(credential)
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)

    def forget(self, credential: bytes) -> None:
        self._kept.pop(credential, None)
