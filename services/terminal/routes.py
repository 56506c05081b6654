"""Every endpoint of the terminal service."""

from services.terminal.access import READ, WRITE
from services.terminal.errors import (
    EngineUnavailable,
    NoCapacity,
    NotLocal,
    ShellNotStarted,
    TabTaken,
    TerminalEnded,
    TooManyShares,
    TooManyTerminals,
)
from services.terminal.handlers import boxes, page, shares, sockets, tabs, terminals
from services.terminal.protocol import SUBPROTOCOL
from shared.errors import NotFound, TooManyRequests
from shared.http.operations import Operation
from shared.http.sockets import Socket
from shared.identity.tokens import admin, public

START = (NotLocal, NoCapacity, EngineUnavailable)
ADMINISTER = "admin:terminal"
SESSIONS, ONE_SESSION = "/terminal/sessions", "/terminal/sessions/{terminal_id}"

OPERATIONS = [
    Operation(
        "GET", "/terminal/", page.show_page, access=public, recorded=False, answer_types=("text/html",)
    ),
    Operation(
        *("GET", "/terminal/assets/{name}", page.show_asset),
        access=public,
        recorded=False,
        answer_types=("text/javascript", "text/css"),
    ),
    Operation("GET", "/terminal", boxes.show_box, scope=READ),
    Operation("POST", "/terminal/start", boxes.start_box, scope=WRITE, errors=START),
    Operation("POST", "/terminal/stop", boxes.stop_box, scope=WRITE, status=204),
    Operation("GET", SESSIONS, terminals.list_terminals, scope=READ),
    Operation(
        *("POST", SESSIONS, terminals.open_terminal),
        scope=WRITE,
        status=201,
        location="/terminal/sessions/{id}",
        errors=(*START, TabTaken, TooManyTerminals, ShellNotStarted),
    ),
    Operation("GET", ONE_SESSION, terminals.show_terminal, scope=READ),
    Operation("DELETE", ONE_SESSION, terminals.close_terminal, scope=WRITE, status=204),
    Operation(
        "POST",
        f"{ONE_SESSION}/signal",
        terminals.signal_terminal,
        scope=WRITE,
        status=204,
        errors=(TerminalEnded,),
    ),
    Operation(
        *("POST", "/terminal/tickets", terminals.make_ticket),
        scope=READ,  # a ticket to write needs WRITE as well
        status=201,
        errors=(NotFound, NotLocal, TerminalEnded, TooManyRequests),
    ),
    Operation("GET", "/terminal/tabs", tabs.show_tabs, scope=READ),
    Operation("PUT", "/terminal/tabs", tabs.save_tabs, scope=WRITE),
    Operation(
        *("POST", f"{ONE_SESSION}/shares", shares.share_terminal),
        scope=WRITE,
        status=201,
        errors=(TerminalEnded, TooManyShares),
    ),
    Operation("GET", f"{ONE_SESSION}/shares", shares.list_shares, scope=READ),
    Operation("DELETE", f"{ONE_SESSION}/shares/{{share_id}}", shares.revoke_share, scope=WRITE, status=204),
    Operation("GET", "/terminal/admin/boxes", boxes.list_boxes, access=admin, scope=ADMINISTER),
    Operation(
        "POST",
        "/terminal/admin/boxes/{box_id}/stop",
        boxes.stop_box_of,
        access=admin,
        scope=ADMINISTER,
        status=204,
    ),
]
SOCKETS = [
    Socket(
        "/terminal/ws",
        sockets.watch_terminal,
        SUBPROTOCOL,
        scope=READ,  # without WRITE it shows and takes no input
        redeem=sockets.redeem_ticket,
        origins=sockets.allowed_origins,
    )
]
