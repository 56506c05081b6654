"""Challenges between first and second factor: a token with five attempts in five minutes."""

import secrets
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, delete, select, update
from sqlmodel import Session
from starlette.requests import Request

from services.auth.models import CHALLENGES, Challenge, delete_expired
from services.auth.settings import Settings
from shared.clock import now
from shared.hashing import sha256_hex

CHALLENGE_SECONDS = 5 * 60
TRIES_MAX = 5
TOKEN_BYTES = 32
TOKEN_CHARACTERS_MAX = 100


class ChallengeCookie:
    """Keeps the token of a sign-in in the browser, for clients that send only a name and a code."""

    def __init__(self, settings: Settings) -> None:
        is_secure = settings.session_cookie.startswith("__Host-")
        self.name = "__Host-mfa" if is_secure else "mfa"
        self._attributes = f"; Path=/; HttpOnly; SameSite=Strict{'; Secure' if is_secure else ''}"

    def of(self, request: Request) -> str:
        return request.cookies.get(self.name, "")[:TOKEN_CHARACTERS_MAX]

    def holding(self, token: str) -> str:
        """Return the Set-Cookie value that keeps this token."""
        return f"{self.name}={token}; Max-Age={CHALLENGE_SECONDS}{self._attributes}"

    def gone(self) -> str:
        """Return the Set-Cookie value that deletes the cookie."""
        return f"{self.name}=; Max-Age=0{self._attributes}"


def open_challenge(
    session: Session, account_id: str, device_id: str, amr: str = "pwd", new_hash: str | None = None
) -> str:
    """Create a challenge after the first factor `amr`; its token grants no access by itself.

    `new_hash` is the hash of a password that is set once the second factor has been shown.
    """
    delete_expired(session, CHALLENGES.c.token_hash, CHALLENGES.c.expires <= now())
    token = secrets.token_urlsafe(TOKEN_BYTES)
    expires = now() + timedelta(seconds=CHALLENGE_SECONDS)
    session.add(
        Challenge(
            token_hash=sha256_hex(token),
            account_id=account_id,
            device_id=device_id,
            amr=amr,
            new_hash=new_hash,
            expires=expires,
        )
    )
    return token


def try_challenge(session: Session, token: str) -> Row[Any] | None:
    """Count an attempt and return the challenge; None if it is unknown, expired or has no attempts left."""
    good = CHALLENGES.c.token_hash == sha256_hex(token), CHALLENGES.c.expires > now()
    left = CHALLENGES.c.tries < TRIES_MAX
    counted = update(CHALLENGES).where(*good, left).values(tries=CHALLENGES.c.tries + 1).returning(CHALLENGES)
    return session.connection().execute(counted).first()


def waiting_challenge(session: Session, token_hash: str) -> Row[Any] | None:
    """Return a challenge whose attempt has been counted; None if it is used up or expired meanwhile."""
    good = CHALLENGES.c.token_hash == token_hash, CHALLENGES.c.expires > now()
    return session.connection().execute(select(CHALLENGES).where(*good)).first()


def close_challenge(session: Session, challenge: Row[Any]) -> bool:
    """Consume the token; of several concurrent calls exactly one succeeds."""
    mine = delete(CHALLENGES).where(CHALLENGES.c.token_hash == challenge.token_hash)
    return session.connection().execute(mine).rowcount == 1


def close_challenges(session: Session, account_id: str) -> None:
    """Invalidate the account's pending challenges: sign-ins waiting for a second factor must start over."""
    session.connection().execute(delete(CHALLENGES).where(CHALLENGES.c.account_id == account_id))
