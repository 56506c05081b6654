"""Single-use tickets, which browsers request because they cannot send a bearer token with a WebSocket."""

import json
import secrets
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import delete, func, select
from sqlmodel import Session

from services.terminal.models import TICKETS, Ticket
from shared.caller import Caller
from shared.clock import now
from shared.errors import TooManyRequests
from shared.hashing import sha256_hex

TOKEN_BYTES = 32
TICKET_CHARACTERS_MAX = 100
TICKETS_PER_ACCOUNT = 100
KEPT_CLAIMS = ("act", "auth_time", "acr")  # for action records, and for checks of the sign-in


class Redeemed(NamedTuple):
    """The contents of a redeemed ticket."""

    caller: Caller
    terminal_id: str
    mode: str
    share_id: str | None


def issue(
    session: Session,
    caller: Caller,
    terminal_id: str,
    mode: str,
    seconds: float,
    share_id: str | None = None,
) -> tuple[str, datetime]:
    """Issue a ticket that opens one terminal once; a guest's ticket names the share that grants access."""
    run = session.connection().execute
    run(delete(TICKETS).where(TICKETS.c.owner == caller.id, TICKETS.c.expires < now()))
    mine = run(select(func.count()).select_from(TICKETS).where(TICKETS.c.owner == caller.id)).scalar_one()
    if mine >= TICKETS_PER_ACCOUNT:
        raise TooManyRequests(headers={"Retry-After": str(int(seconds) + 1)})
    ticket, expires = secrets.token_urlsafe(TOKEN_BYTES), now() + timedelta(seconds=seconds)
    session.add(
        Ticket(
            hash=sha256_hex(ticket),
            owner=caller.id,
            terminal_id=terminal_id,
            mode=mode,
            caller=packed(caller),
            expires=expires,
            share_id=share_id,
        )
    )
    return ticket, expires


def redeem(session: Session, ticket: str, terminal_id: str) -> Redeemed | None:
    """Delete a ticket and return its contents; None if it is not valid for this terminal."""
    if not 0 < len(ticket) <= TICKET_CHARACTERS_MAX:
        return None
    row = (
        session.connection()
        .execute(delete(TICKETS).where(TICKETS.c.hash == sha256_hex(ticket)).returning(*TICKETS.c))
        .one_or_none()
    )
    if row is None or row.expires < now() or row.terminal_id != terminal_id:
        return None
    return Redeemed(unpacked(row.caller), row.terminal_id, row.mode, row.share_id)


def packed(caller: Caller) -> str:
    claims = {name: caller.claims[name] for name in KEPT_CLAIMS if name in caller.claims}
    kept: dict[str, Any] = {**asdict(caller), "scopes": sorted(caller.scopes), "claims": claims}
    return json.dumps(kept)


def unpacked(text: str) -> Caller:
    kept = json.loads(text)
    return Caller(**{**kept, "scopes": frozenset(kept["scopes"])})
