"""Pushed authorization requests (RFC 9126): sent by the client itself, so a browser cannot change them."""

import secrets
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import delete, select
from sqlmodel import Session

from services.auth.clients.clients import KnownClient
from services.auth.models import PUSHED, PushedRequest, delete_expired
from services.auth.oauth.parameters import Parameters
from shared.clock import now
from shared.hashing import sha256_hex

URI_PREFIX = "urn:ietf:params:oauth:request_uri:"
LIFETIME = timedelta(minutes=10)  # leaves the person time to sign in
URI_BYTES = 32
_NOT_KEPT = ("client_secret", "client_assertion", "client_assertion_type")


class PushedRequests:
    """Pushed requests in the database, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def keep(self, client: KnownClient, given: Parameters) -> dict[str, Any]:
        """Store a request with valid parameters, and return the response body."""
        delete_expired(self._session, PUSHED.c.uri_hash, PUSHED.c.expires <= now())
        request_uri = URI_PREFIX + secrets.token_urlsafe(URI_BYTES)
        values = {name: value for name, value in given.values.items() if name not in _NOT_KEPT}
        self._session.add(
            PushedRequest(
                uri_hash=sha256_hex(request_uri),
                client_id=client.id,
                query=urlencode(values | {"client_id": client.client_id}),
                expires=now() + LIFETIME,
            )
        )
        return {"request_uri": request_uri, "expires_in": int(LIFETIME.total_seconds())}

    def find(self, request_uri: str, client_id: str) -> str | None:
        """Return the pushed query if it is unused and has not expired."""
        found = select(PUSHED.c.query).where(*_mine(request_uri, client_id), PUSHED.c.expires > now())
        query: str | None = self._session.connection().execute(found).scalar_one_or_none()
        return query

    def use(self, request_uri: str, client_id: str) -> bool:
        """Consume the request; of several concurrent calls exactly one succeeds."""
        gone = delete(PUSHED).where(*_mine(request_uri, client_id))
        return self._session.connection().execute(gone).rowcount == 1


def _mine(request_uri: str, client_id: str) -> tuple[Any, ...]:
    return PUSHED.c.uri_hash == sha256_hex(request_uri), PUSHED.c.client_id == client_id
