"""Shares: another account may watch a terminal or type in it, until the share expires or is revoked.

A share has a secret token, which is shown once. A guest exchanges it for a ticket and opens the socket with
that. Revoking a share closes the sockets that were opened through it.
"""

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlmodel import Session

from services.terminal.errors import TooManyShares
from services.terminal.models import SHARES
from services.terminal.protocol import Close
from services.terminal.viewers import Viewer
from shared.clock import now
from shared.data.database import one_row
from shared.data.statements import insert_row
from shared.errors import NotFound
from shared.hashing import sha256_hex

SHARES_MAX = 20  # per terminal
TOKEN_BYTES = 32
TOKEN_CHARACTERS_MAX = 100


class Guests:
    """The sockets that were opened through each share."""

    def __init__(self) -> None:
        self._viewers: defaultdict[str, set[Viewer]] = defaultdict(set)

    @contextmanager
    def watching(self, share_id: str, viewer: Viewer) -> Iterator[None]:
        """Register a viewer before its share is checked, so that no revocation can miss it."""
        self._viewers[share_id].add(viewer)
        try:
            yield
        finally:
            self._viewers[share_id].discard(viewer)
            if not self._viewers[share_id]:
                del self._viewers[share_id]

    def count(self, share_id: str) -> int:
        return len(self._viewers.get(share_id, ()))

    def close(self, share_id: str) -> None:
        for viewer in self._viewers.get(share_id, ()):
            viewer.close(Close.FORBIDDEN, "the share was revoked")


@contextmanager
def closing_at_end(viewer: Viewer, seconds: float) -> Iterator[None]:
    """Close the viewer's socket when its share expires."""
    loop = asyncio.get_running_loop()
    timer = loop.call_later(max(0.0, seconds), viewer.close, Close.FORBIDDEN, "the share has expired")
    try:
        yield
    finally:
        timer.cancel()


def make(
    session: Session, terminal_id: str, owner: str, *, mode: str, hours: int, guest: str | None
) -> tuple[dict[str, Any], str]:
    """Insert a share and return it with its token."""
    live = select(func.count()).select_from(SHARES).where(SHARES.c.terminal_id == terminal_id, _is_live())
    if session.connection().execute(live).scalar_one() >= SHARES_MAX:
        raise TooManyShares
    token = secrets.token_urlsafe(TOKEN_BYTES)
    values = {"mode": mode, "guest": guest, "token_hash": sha256_hex(token)}
    expires = now() + timedelta(hours=hours)
    row = insert_row(session, SHARES, terminal_id=terminal_id, owner=owner, **values, expires=expires)
    return row, token


def of_terminal(session: Session, terminal_id: str) -> list[dict[str, Any]]:
    """Return the shares that still work, newest first."""
    found = select(SHARES).where(SHARES.c.terminal_id == terminal_id, _is_live())
    rows = session.connection().execute(found.order_by(SHARES.c.id.desc()))
    return [row._asdict() for row in rows]


def revoke(session: Session, terminal_id: str, share_id: str) -> None:
    gone = delete(SHARES).where(SHARES.c.id == share_id, SHARES.c.terminal_id == terminal_id)
    if session.connection().execute(gone).rowcount == 0:
        raise NotFound


def granted(session: Session, terminal_id: str, token: str, account: str) -> dict[str, Any]:
    """Return the share that this token gives this account on a terminal; raises NotFound."""
    if not 0 < len(token) <= TOKEN_CHARACTERS_MAX:
        raise NotFound
    found = select(SHARES).where(
        SHARES.c.terminal_id == terminal_id, SHARES.c.token_hash == sha256_hex(token)
    )
    return _usable(one_row(session, found.where(_is_live())), account)


def use(session: Session, share_id: str, terminal_id: str, account: str) -> dict[str, Any]:
    """Count a use of a share, unless it was revoked or has expired since the ticket was issued."""
    found = select(SHARES).where(SHARES.c.id == share_id, SHARES.c.terminal_id == terminal_id, _is_live())
    share = _usable(one_row(session, found), account)
    counted = update(SHARES).where(SHARES.c.id == share_id).values(uses=SHARES.c.uses + 1)
    session.connection().execute(counted)
    return share


def forget_expired(session: Session) -> None:
    session.connection().execute(delete(SHARES).where(SHARES.c.expires < now()))


def _usable(row: dict[str, Any] | None, account: str) -> dict[str, Any]:
    if row is None or row["guest"] not in (None, account):
        raise NotFound
    return row


def _is_live() -> Any:
    return SHARES.c.expires > now()
