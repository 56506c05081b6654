"""Handler for the WebSocket that displays a terminal."""

import re

from starlette.websockets import WebSocket

from services.terminal import tickets
from services.terminal.access import WRITE, Door
from services.terminal.errors import TooManyViewers
from services.terminal.protocol import SUBPROTOCOL
from services.terminal.settings import Settings
from services.terminal.terminals import Terminals
from services.terminal.viewing import converse
from shared.caller import Caller
from shared.data.database import Database
from shared.errors import NotFound
from shared.http.trail import Trail

TICKET_MODE = "gatehouse.terminal.mode"  # scope key for the mode of a redeemed ticket
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
    websocket.scope[TICKET_MODE] = redeemed.mode
    return redeemed.caller


async def watch_terminal(
    websocket: WebSocket, caller: Caller, terminals: Terminals, door: Door, settings: Settings, trail: Trail
) -> None:
    door.require_local(websocket)
    terminal_id = websocket.query_params.get("session", "")
    if not _ID.fullmatch(terminal_id):
        raise NotFound
    session = terminals.live(terminal_id)
    if session.owner != caller.id:
        raise NotFound
    if len(session.viewers) >= settings.viewers_per_terminal:
        raise TooManyViewers
    mode = websocket.scope.get(TICKET_MODE, "rw") if caller.may(WRITE) else "ro"
    trail.resource = terminal_id
    trail.add(mode=mode, by="ticket" if TICKET_MODE in websocket.scope else "bearer")
    await trail.keep()
    await websocket.accept(subprotocol=SUBPROTOCOL)
    await converse(websocket, session, may_write=mode == "rw", hold_seconds=settings.hold_seconds)
