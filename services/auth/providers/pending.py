"""Pending sign-ins: each is valid once, for ten minutes, in the browser where it began."""

import base64
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, delete, select
from sqlmodel import Session

from services.auth.errors import StrangeSignIn
from services.auth.models import PENDING_SIGN_INS, delete_expired
from services.auth.provider_models import PendingSignIn
from services.auth.providers.person import Secrets
from services.auth.providers.refusals import Refused
from services.auth.settings import Settings
from shared.clock import now
from shared.hashing import derived_key, sha256_hex

LIFETIME = timedelta(minutes=10)
SECRET_BYTES = 32
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Purpose:
    """What follows a sign-in: a path, and the account to connect the identity to, if any."""

    after: str = ""
    is_for_front_end: bool = False
    account_id: str | None = None
    session_id: str | None = None
    challenge_hash: str | None = None  # of a sign-in that waits for its second factor


class PendingSignIns:
    """Stores and consumes pending sign-ins. Only hashes are stored; the state yields nonce and verifier."""

    def __init__(self, settings: Settings) -> None:
        self._key = derived_key(settings.key_secret.get_secret_value(), "sign-ins at providers")
        is_secure = settings.session_cookie.startswith("__Host-")
        self.cookie_name = "__Host-signin" if is_secure else "signin"
        self._attributes = f"; Path=/; HttpOnly; SameSite=Lax{'; Secure' if is_secure else ''}"

    def new_state(self) -> str:
        return _new_secret()

    def keep(self, session: Session, state: str, provider: str, cookie: str | None, purpose: Purpose) -> str:
        """Store a pending sign-in; return the Set-Cookie value that binds it to the browser."""
        table = PENDING_SIGN_INS
        delete_expired(session, table.c.state_hash, table.c.expires <= now())
        # Concurrent sign-ins in several tabs share the cookie.
        browser = cookie if cookie is not None and _SECRET.fullmatch(cookie) else _new_secret()
        row = PendingSignIn(
            state_hash=sha256_hex(state),
            browser_hash=sha256_hex(browser),
            provider=provider,
            after=purpose.after,
            is_for_front_end=purpose.is_for_front_end,
            account_id=purpose.account_id,
            session_id=purpose.session_id,
            challenge_hash=purpose.challenge_hash,
            expires=now() + LIFETIME,
        )
        session.add(row)
        seconds = int(LIFETIME.total_seconds())
        return f"{self.cookie_name}={browser}; Max-Age={seconds}{self._attributes}"

    def secrets_of(self, state: str) -> Secrets:
        return Secrets(state, nonce=self._derived("nonce", state), verifier=self._derived("verifier", state))

    def use(self, session: Session, provider: str, given: Mapping[str, str], cookie: str | None) -> Purpose:
        """Consume the state, in one statement, and return the purpose of its sign-in."""
        state, table = given.get("state", ""), PENDING_SIGN_INS
        if not _SECRET.fullmatch(state):
            raise Refused(StrangeSignIn(), "state_missing")
        mine = table.c.state_hash == sha256_hex(state), table.c.browser_hash == sha256_hex(cookie or "")
        good = table.c.provider == provider, table.c.expires > now()
        used = delete(table).where(*mine, *good).returning(table)
        row = session.connection().execute(used).first()
        if row is None:
            raise Refused(StrangeSignIn(), _why_not(session, state, provider))
        return _purpose(row)

    def forget(self) -> str:
        """Return the Set-Cookie value that removes the cookie."""
        return f"{self.cookie_name}={self._attributes}; Max-Age=0"

    def _derived(self, kind: str, state: str) -> str:
        digest = hmac.digest(self._key, f"{kind} of {state}".encode(), "sha256")
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _purpose(row: Row[Any]) -> Purpose:
    return Purpose(row.after, row.is_for_front_end, row.account_id, row.session_id, row.challenge_hash)


def _why_not(session: Session, state: str, provider: str) -> str:
    """Return the reason for the log. The response is the same in all cases."""
    found = select(PENDING_SIGN_INS).where(PENDING_SIGN_INS.c.state_hash == sha256_hex(state))
    row = session.connection().execute(found).first()
    if row is None:
        return "state_unknown"
    if row.expires <= now():
        return "state_expired"
    return "state_of_another_provider" if row.provider != provider else "state_of_another_browser"


def _new_secret() -> str:
    return secrets.token_urlsafe(SECRET_BYTES)
