"""Browser sessions: an opaque cookie, of which the database stores only the hash."""

import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, select, update
from sqlmodel import Session

from services.auth.models import SESSIONS, Account, LoginSession
from services.auth.sessions.sessions import Sessions, end_of
from services.auth.sessions.tokens import RefreshToken, RefreshTokens
from services.auth.settings import Settings
from shared.clock import now

EXTENDED_AFTER = 0.05  # fraction of the idle time, so that not every request causes a write


@dataclass(frozen=True, slots=True)
class SignedInBrowser:
    """The session and account of a cookie."""

    session_id: str
    account: Account
    authenticated: datetime
    amr: str | None


class BrowserSessions:
    """Opens, finds and ends browser sessions. Every method runs inside the caller's transaction."""

    def __init__(self, settings: Settings, sessions: Sessions) -> None:
        self._sessions = sessions
        self._tokens = RefreshTokens(settings.key_secret.get_secret_value(), "browser session")
        self._idle = timedelta(seconds=settings.browser_idle_seconds)
        self._absolute = timedelta(seconds=settings.browser_absolute_seconds)
        self.cookie_name = settings.session_cookie
        secure = "; Secure" if self.cookie_name.startswith("__Host-") else ""
        self._attributes = f"; Path=/; HttpOnly; SameSite=Lax{secure}"

    def open(
        self,
        session: Session,
        account: Account,
        before: str | None,
        amr: str = "pwd",
        device: str | None = None,
    ) -> tuple[str, str]:
        """Open a session, ending the browser's previous one; return its id and Set-Cookie value."""
        self.end(session, before)
        opened = LoginSession(
            account_id=account.id, token_hash="", expires=now() + self._idle, amr=amr, device=device
        )
        token = self._tokens.first(opened.id)
        opened.token_hash = token.hash
        self._sessions.add(session, opened)
        return opened.id, self._cookie(token)

    def renew(self, session: Session, session_id: str, amr: str) -> str:
        """Record a renewed sign-in and replace the cookie of the session; return the Set-Cookie value.

        The old cookie becomes invalid. For the new one, the gateway gets an access token with the new time.
        """
        token = self._tokens.first(session_id)
        self._sessions.confirm(session, session_id, amr)
        renewed = update(SESSIONS).where(SESSIONS.c.id == session_id, SESSIONS.c.revoked.is_(None))
        session.connection().execute(renewed.values(token_hash=token.hash))
        return self._cookie(token)

    def find(self, session: Session, cookie: str | None) -> SignedInBrowser | None:
        """Return the session of this cookie if it is alive, and extend its lifetime."""
        row = self._row(session, cookie)
        account = None if row is None else session.get(Account, row.account_id)
        if row is None or account is None or not account.may_sign_in:
            return None
        expires = min(now() + self._idle, end_of(row, self._absolute))
        if expires - row.expires > EXTENDED_AFTER * self._idle:
            alive = SESSIONS.c.id == row.id, SESSIONS.c.revoked.is_(None)
            session.connection().execute(update(SESSIONS).where(*alive).values(expires=expires))
        return SignedInBrowser(row.id, account, row.authenticated or row.created, row.amr)

    def end(self, session: Session, cookie: str | None) -> str | None:
        """End the session of this cookie and what it granted; return its account id."""
        row = self._row(session, cookie)
        return None if row is None else self._sessions.end(session, row.id)

    def end_session(self, session: Session, session_id: str) -> str | None:
        """End this session and what it granted; return its account id."""
        return self._sessions.end(session, session_id)

    def forget(self) -> str:
        """Return the Set-Cookie value that deletes the cookie."""
        return f"{self.cookie_name}={self._attributes}; Max-Age=0"

    def _cookie(self, token: RefreshToken) -> str:
        return f"{self.cookie_name}={self._tokens.write(token)}{self._attributes}"

    def _row(self, session: Session, cookie: str | None) -> Row[Any] | None:
        token = self._tokens.read(cookie or "")
        if token is None:
            return None
        alive = SESSIONS.c.revoked.is_(None), SESSIONS.c.expires > now()
        row = (
            session.connection()
            .execute(select(SESSIONS).where(SESSIONS.c.id == token.session_id, *alive))
            .first()
        )
        return row if row is not None and hmac.compare_digest(row.token_hash, token.hash) else None
