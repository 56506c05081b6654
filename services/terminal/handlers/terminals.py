"""Handlers for the caller's terminals and their tickets."""

from sqlmodel import Session
from starlette.requests import Request

from services.terminal import shares, tickets
from services.terminal.access import WRITE, Door, own_terminal
from services.terminal.boxes import Boxes
from services.terminal.errors import TerminalEnded
from services.terminal.models import LIVE, TERMINALS
from services.terminal.protocol import SIGNALS
from services.terminal.schemas import (
    CloseQuery,
    MakeTicket,
    OpenTerminal,
    SignalTerminal,
    TerminalOut,
    TicketOut,
)
from services.terminal.settings import Settings
from services.terminal.terminals import Terminals
from shared.caller import Caller
from shared.data.database import Database
from shared.errors import InsufficientScope
from shared.http.schemas import Id, Page
from shared.http.trail import Trail
from shared.identity.tokens import in_person
from shared.lists.pagination import PageQuery, paginate_equal


async def open_terminal(
    body: OpenTerminal,
    caller: Caller,
    request: Request,
    boxes: Boxes,
    terminals: Terminals,
    door: Door,
    trail: Trail,
) -> TerminalOut:
    """Start a shell in your box, and the box if it is not running."""
    door.require_local(request)
    place = await boxes.ensure(caller.id)
    row = await terminals.open(place, body.tab, body.rows, body.cols, trail)
    return TerminalOut.of(row)


def list_terminals(query: PageQuery, caller: Caller, session: Session) -> Page[TerminalOut]:
    """List your terminals, newest first; ended ones are kept for a week."""
    return paginate_equal(session, TERMINALS, {"owner": caller.id}, query, TerminalOut.of)


async def show_terminal(
    terminal_id: Id, caller: Caller, database: Database, terminals: Terminals
) -> TerminalOut:
    """Show one terminal, with its viewers, foreground command and directory."""
    row = await database.read(own_terminal, terminal_id, caller.id)
    shown = TerminalOut.of(row)
    live = terminals.find(terminal_id)
    if live is not None:
        shown.viewers, shown.command, shown.directory = len(live.viewers), live.command, live.directory
    return shown


async def close_terminal(
    terminal_id: Id, query: CloseQuery, caller: Caller, database: Database, terminals: Terminals
) -> None:
    """Hang up a shell, and kill what is still running after the grace period."""
    await database.read(own_terminal, terminal_id, caller.id)
    live = terminals.find(terminal_id)
    if live is not None:
        await terminals.hang_up([live], query.grace)


async def signal_terminal(
    terminal_id: Id, body: SignalTerminal, caller: Caller, database: Database, terminals: Terminals
) -> None:
    """Send a signal to the foreground process group."""
    row = await database.read(own_terminal, terminal_id, caller.id)
    if row["state"] not in LIVE:
        raise TerminalEnded
    terminals.live(terminal_id).signal_foreground(SIGNALS[body.signal])


def make_ticket(
    body: MakeTicket,
    caller: Caller,
    request: Request,
    session: Session,
    door: Door,
    settings: Settings,
    trail: Trail,
) -> TicketOut:
    """Create a short-lived ticket that opens the WebSocket of one terminal once.

    Guests send the token of their `share`.
    """
    door.require_local(request)
    if body.mode == "rw":
        in_person(caller)
        if not caller.may(WRITE):
            raise InsufficientScope(WRITE)
    terminal_id, mode, share_id = body.session, body.mode, None
    if body.share is not None:
        share = shares.granted(session, terminal_id, body.share, caller.id)
        mode, share_id = ("rw" if share["mode"] == mode == "rw" else "ro"), share["id"]
        row = own_terminal(session, terminal_id, share["owner"])
    else:
        row = own_terminal(session, terminal_id, caller.id)
    trail.resource = row["id"]
    trail.add(mode=mode, **({"share": share_id} if share_id else {}))
    if row["state"] not in LIVE:
        raise TerminalEnded
    ticket, expires = tickets.issue(session, caller, row["id"], mode, settings.ticket_seconds, share_id)
    return TicketOut(ticket=ticket, mode=mode, expires=expires)
