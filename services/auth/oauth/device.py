"""Device authorization (RFC 8628): the owner allows a device without a browser from another device."""

import re
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, delete, select, update
from sqlmodel import Session

from services.auth.clients.clients import KnownClient, client_named
from services.auth.clients.scopes import text, words
from services.auth.credentials.throttle import Pace
from services.auth.models import DEVICE_CODES, DeviceCode, delete_expired
from services.auth.oauth.errors import OAuthError, invalid_grant
from services.auth.oauth.issuer import Issuer
from services.auth.oauth.parameters import Parameters
from services.auth.sessions.browser import SignedInBrowser
from services.auth.sessions.sessions import Grant
from shared.clock import now
from shared.hashing import sha256_hex
from shared.ids import new_id

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
PAGE = "/oauth/device"
LIFETIME = timedelta(minutes=10)
INTERVAL_SECONDS = 5
SLOWER_SECONDS = 5
DEVICE_CODE_BYTES = 32
USER_CODE_CHARACTERS = (
    8  # from an alphabet of twenty: 34 bits, for ten minutes and a few attempts per account
)
_ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"  # no vowels, so no words; no letters that look like digits
_IGNORED = re.compile(r"[^A-Z]")
# Per network, because public clients need no secret to ask.
PER_NETWORK = Pace(at_once=30, interval=timedelta(seconds=10))


@dataclass(frozen=True, slots=True)
class Waiting:
    """A device that waits for its owner, as the page shows it."""

    row: Row[Any]
    client: KnownClient
    scopes: frozenset[str]


class DeviceAuthorization:
    """The waiting devices, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def begin(self, issuer: Issuer, client: KnownClient, given: Parameters) -> dict[str, Any]:
        """Create the codes for the device and its owner, and return the response body."""
        if GRANT not in words(client.grant_types):
            raise OAuthError("unauthorized_client", "The client may not use the device code grant.")
        scopes, resource = issuer.granted(client, given.get("scope")), issuer.resource(given.get("resource"))
        delete_expired(self._session, DEVICE_CODES.c.device_hash, DEVICE_CODES.c.expires <= now() - LIFETIME)
        device_code = secrets.token_urlsafe(DEVICE_CODE_BYTES)
        user_code = "".join(secrets.choice(_ALPHABET) for _ in range(USER_CODE_CHARACTERS))
        row = DeviceCode(
            device_hash=sha256_hex(device_code),
            user_hash=sha256_hex(user_code),
            client_id=client.id,
            scope=text(scopes),
            resource=resource,
            interval=INTERVAL_SECONDS,
            expires=now() + LIFETIME,
        )
        self._session.add(row)
        shown = f"{user_code[:4]}-{user_code[4:]}"
        return {
            "device_code": device_code,
            "user_code": shown,
            "verification_uri": f"{issuer.url}{PAGE}",
            "verification_uri_complete": f"{issuer.url}{PAGE}?user_code={shown}",
            "expires_in": int(LIFETIME.total_seconds()),
            "interval": INTERVAL_SECONDS,
        }

    def waiting(self, user_code: str) -> Waiting | None:
        """Find the undecided device that shows this code; case and dashes are ignored."""
        mine = DEVICE_CODES.c.user_hash == sha256_hex(_IGNORED.sub("", user_code.upper()))
        found = select(DEVICE_CODES).where(mine, *_unanswered())
        row = self._session.connection().execute(found).first()
        client = None if row is None else client_named(self._session, row.client_id)
        if row is None or client is None or not client.is_active:
            return None
        return Waiting(row, client, words(row.scope))

    def answer(self, waiting: Waiting, browser: SignedInBrowser, *, allowed: bool) -> bool:
        """Allow or deny the device once; return False if that is already decided, or the code has expired."""
        values: dict[str, Any] = {"is_denied": True}
        if allowed:
            who = {"account_id": browser.account.id, "authenticated": browser.authenticated}
            values = {**who, "amr": browser.amr}
        mine = DEVICE_CODES.c.device_hash == waiting.row.device_hash
        answered = update(DEVICE_CODES).where(mine, *_unanswered()).values(**values)
        return self._session.connection().execute(answered).rowcount == 1

    def redeem(self, device_code: str, client: KnownClient) -> tuple[str, Grant]:
        """Consume an allowed device code and return its account and grant; otherwise raise OAuthError."""
        mine = DEVICE_CODES.c.device_hash == sha256_hex(device_code), DEVICE_CODES.c.client_id == client.id
        row = self._session.connection().execute(select(DEVICE_CODES).where(*mine)).first()
        if row is None:
            raise invalid_grant("The device code is unknown or used.")
        if row.expires <= now():
            raise OAuthError("expired_token", "The device code has expired; start again.")
        if row.is_denied:
            raise OAuthError("access_denied", "The person denied the request.")
        if row.account_id is None:
            self._count_poll(row)
            raise OAuthError("authorization_pending", "The person has not answered yet.")
        # This one statement decides who redeems the code.
        if self._session.connection().execute(delete(DEVICE_CODES).where(*mine)).rowcount != 1:
            raise invalid_grant("The device code is unknown or used.")
        grant = Grant(new_id(), client.id, row.scope, row.resource, None, row.authenticated, row.amr)
        return row.account_id, grant

    def _count_poll(self, row: Row[Any]) -> None:
        is_early = row.polled is not None and now() - row.polled < timedelta(seconds=row.interval)
        interval = row.interval + (SLOWER_SECONDS if is_early else 0)
        mine = DEVICE_CODES.c.device_hash == row.device_hash
        polled = update(DEVICE_CODES).where(mine).values(polled=now(), interval=interval)
        self._session.connection().execute(polled)
        if is_early:
            raise OAuthError("slow_down", f"Wait {interval} seconds between requests.")


def _unanswered() -> tuple[Any, ...]:
    return (
        DEVICE_CODES.c.account_id.is_(None),
        DEVICE_CODES.c.is_denied.is_(False),
        DEVICE_CODES.c.expires > now(),
    )
