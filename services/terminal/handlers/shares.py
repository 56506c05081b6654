"""Handlers for sharing a terminal with other accounts."""

from sqlmodel import Session
from starlette.requests import Request

from services.terminal import shares
from services.terminal.access import own_terminal
from services.terminal.errors import TerminalEnded
from services.terminal.models import LIVE
from services.terminal.schemas import MadeShareOut, MakeShare, ShareOut
from services.terminal.settings import Settings
from services.terminal.shares import Guests
from shared.caller import Caller
from shared.data.database import Database
from shared.http.schemas import Id
from shared.http.trail import Trail
from shared.process.public_address import absolute


def share_terminal(
    terminal_id: Id,
    body: MakeShare,
    caller: Caller,
    session: Session,
    request: Request,
    settings: Settings,
    trail: Trail,
) -> MadeShareOut:
    """Invite another account to watch a terminal of yours, or to write in it, for up to 24 hours.

    With `guest` only that account can use the share, otherwise any account that knows the token. The token is
    shown only in this response.
    """
    terminal = own_terminal(session, terminal_id, caller.id)
    if terminal["state"] not in LIVE:
        raise TerminalEnded
    row, token = shares.make(session, terminal_id, caller.id, **body.model_dump())
    trail.resource = terminal_id
    trail.add(share=row["id"], mode=body.mode, guest=body.guest or "any")
    url = absolute(f"/terminal/#session={terminal_id}&share={token}", request, settings)
    return MadeShareOut.model_validate({**row, "token": token, "url": url})


def list_shares(terminal_id: Id, caller: Caller, session: Session, guests: Guests) -> list[ShareOut]:
    """List the shares of a terminal that still work, newest first."""
    own_terminal(session, terminal_id, caller.id)
    rows = shares.of_terminal(session, terminal_id)
    return [ShareOut.model_validate({**row, "watching": guests.count(row["id"])}) for row in rows]


async def revoke_share(
    terminal_id: Id, share_id: Id, caller: Caller, database: Database, guests: Guests, trail: Trail
) -> None:
    """Revoke a share at once; the sockets that were opened through it are closed with 4403."""
    trail.resource = terminal_id
    trail.add(share=share_id)
    await database.run(_revoke, terminal_id, share_id, caller.id, trail)
    guests.close(share_id)


def _revoke(session: Session, terminal_id: str, share_id: str, owner: str, trail: Trail) -> None:
    own_terminal(session, terminal_id, owner)
    shares.revoke(session, terminal_id, share_id)
    trail.write(session)
