"""Handler for the WebSocket that displays a terminal."""

import re
from contextlib import ExitStack

from starlette.websockets import WebSocket

from services.terminal import shares, tickets
from services.terminal.access import Door, may_type
from services.terminal.errors import TooManyViewers
from services.terminal.protocol import SUBPROTOCOL
from services.terminal.session import Session
from services.terminal.settings import Settings
from services.terminal.shares import Guests, closing_at_end
from services.terminal.terminals import Terminals
from services.terminal.tickets import Redeemed
from services.terminal.viewers import Viewer
from services.terminal.viewing import converse
from shared.caller import Caller
from shared.clock import now
from shared.data.database import Database
from shared.errors import NotFound
from shared.http.trail import Trail

GUESTS_MAX = 32  # sockets of guests on all terminals of one account
REDEEMED = "gatehouse.terminal.ticket"  # scope key of the ticket that was redeemed
_ID = re.compile(r"[0-9a-f-]{36}")


def allowed_origins(settings: Settings) -> tuple[str, ...]:
    return settings.socket_origins


async def redeem_ticket(websocket: WebSocket, database: Database) -> Caller | None:
    """Return the caller whose ticket is in the query. The ticket is consumed whatever follows."""
    ticket = websocket.query_params.get("ticket", "")
    if not ticket:
        return None
    redeemed = await database.run(tickets.redeem, ticket, websocket.query_params.get("session", ""))
    if redeemed is None:
        return None
    websocket.scope[REDEEMED] = redeemed
    return redeemed.caller


async def watch_terminal(
    websocket: WebSocket,
    caller: Caller,
    terminals: Terminals,
    door: Door,
    settings: Settings,
    trail: Trail,
    database: Database,
    guests: Guests,
) -> None:
    door.require_local(websocket)
    terminal_id = websocket.query_params.get("session", "")
    if not _ID.fullmatch(terminal_id):
        raise NotFound
    session = terminals.live(terminal_id)
    ticket: Redeemed | None = websocket.scope.get(REDEEMED)
    share_id = ticket.share_id if ticket else None
    if session.owner != caller.id and share_id is None:
        raise NotFound
    _require_place(session, terminals, settings, is_guest=share_id is not None)
    mode = ticket.mode if ticket else "rw"
    viewer = Viewer(may_write=mode == "rw" and may_type(caller), is_guest=share_id is not None)
    trail.resource = terminal_id
    trail.add(mode="rw" if viewer.may_write else "ro", by="ticket" if ticket else "bearer")
    with ExitStack() as stack:
        if share_id is not None:
            stack.enter_context(guests.watching(share_id, viewer))
            share = await database.run(shares.use, share_id, terminal_id, caller.id)
            stack.enter_context(closing_at_end(viewer, (share["expires"] - now()).total_seconds()))
            trail.add(share=share_id, owner=session.owner)
        await trail.keep()
        await websocket.accept(subprotocol=SUBPROTOCOL)
        await converse(websocket, session, viewer, hold_seconds=settings.hold_seconds)


def _require_place(session: Session, terminals: Terminals, settings: Settings, *, is_guest: bool) -> None:
    """Refuse viewers beyond the limit. Guests leave one place to the owner, and are few on all terminals."""
    most = settings.viewers_per_terminal
    if is_guest:
        most -= 1
        all_guests = sum(one.is_guest for each in terminals.of(session.owner) for one in each.viewers)
        if all_guests >= GUESTS_MAX:
            raise TooManyViewers
    if len(session.viewers) >= most:
        raise TooManyViewers
