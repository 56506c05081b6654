"""Every endpoint of the terminal service."""

from typing import Any

from contracts.summaries import summary_operation
from services.terminal import summary
from services.terminal.access import READ, READ_FILES, WRITE
from services.terminal.errors import (
    BadSignature,
    BadWebhook,
    Changing,
    EngineUnavailable,
    Exists,
    FileTooLarge,
    Finishing,
    HomeFull,
    Incomplete,
    IntoItself,
    NoCapacity,
    NoPrecondition,
    NotIsolated,
    NotLocal,
    NotPermitted,
    PortsOff,
    PortTaken,
    SeenBefore,
    ShellNotStarted,
    StorageFull,
    TabTaken,
    TerminalEnded,
    TooManyEntries,
    TooManyPorts,
    TooManyShares,
    TooManyTerminals,
    UnknownConnection,
    WrongKind,
    WrongSignature,
)
from services.terminal.handlers import (
    batches,
    boxes,
    files,
    host,
    page,
    ports,
    shares,
    socketio,
    sockets,
    tabs,
    terminals,
    threecompute,
    trash,
    webhook,
)
from services.terminal.protocol import SUBPROTOCOL
from services.terminal.threecompute.schemas import CloseTab, MovePath, SaveTabList
from shared.errors import (
    BadRequest,
    Impersonated,
    NotFound,
    Stale,
    TooLarge,
    TooManyRequests,
    UnsupportedMediaType,
)
from shared.http.forms import BadForm
from shared.http.operations import Operation
from shared.http.ranges import RangeNotSatisfiable
from shared.http.sockets import Socket
from shared.identity.tokens import admin, in_person, public

START = (NotLocal, NoCapacity, EngineUnavailable)
ADMINISTER = "admin:terminal"
FILES = "/terminal/files"
ONE_BATCH = f"{FILES}/batches/{{batch_id}}"
MANIFEST_BYTES_MAX = 4 << 20
READING = (NotLocal, NotFound, WrongKind, NotPermitted, Changing)
WRITING = (*READING, Exists, HomeFull, StorageFull)
SOCKETIO = "/socket.io/"
PORTS = "/terminal/ports"
SESSIONS, ONE_SESSION = "/terminal/sessions", "/terminal/sessions/{terminal_id}"

JSON, BYTES, FORM = "application/json", "application/octet-stream", "multipart/form-data"
SHOWING = (*READING, BadRequest)
CHANGING = (*WRITING, BadRequest)
UPLOADING = (*CHANGING, BadForm, FileTooLarge, TooManyEntries, UnsupportedMediaType)
BODY = (BadRequest, TooLarge)
PATH = "/file/{path:path}"


_SAVING: dict[str, Any] = {
    "scope": WRITE,
    "body_type": JSON,
    "body_model": SaveTabList,
    "errors": (*BODY, Stale),
}


_MOVING: dict[str, Any] = {"access": in_person, "scope": WRITE, "body_type": JSON, "body_model": MovePath}


_UPLOADING: dict[str, Any] = {"access": in_person, "scope": WRITE, "body_type": FORM, "errors": UPLOADING}


# The paths of 3Compute's pages. The gateway serves them below /api as well, and rewrites the other spellings:
# /tabs, /files/move, /files/copy and /files/file.
THREECOMPUTE = [
    Operation("GET", "/auth/tabs", threecompute.show_tab_list, scope=READ),
    Operation("POST", "/auth/tabs", threecompute.save_tab_list, **_SAVING),
    Operation("GET", "/tabs/", threecompute.show_newest_tab_list, scope=READ),
    Operation("POST", "/tabs/", threecompute.save_newest_tab_list, **_SAVING),
    Operation(
        "POST",
        "/terminal/close-tab",
        threecompute.close_tab,
        scope=WRITE,
        body_type=JSON,
        body_model=CloseTab,
        errors=(*BODY, NotFound),
    ),
    Operation("GET", "/list-files", threecompute.list_paths, scope=READ_FILES, errors=SHOWING),
    Operation(
        "GET", "/files/list", threecompute.list_paths_with_classrooms, scope=READ_FILES, errors=SHOWING
    ),
    Operation("POST", "/upload", threecompute.upload_over, **_UPLOADING),
    Operation("POST", "/upload-folder", threecompute.upload_folder_over, **_UPLOADING),
    Operation("POST", "/files/upload", threecompute.upload_new, **_UPLOADING),
    Operation("POST", "/files/upload-folder", threecompute.upload_new_folder, **_UPLOADING),
    Operation("POST", "/move", threecompute.move_path, errors=(*CHANGING, TooLarge), **_MOVING),
    Operation(
        "POST", "/copy", threecompute.copy_path, errors=(*CHANGING, TooLarge, TooManyEntries), **_MOVING
    ),
    Operation(
        *("GET", PATH, threecompute.show_path),
        scope=READ_FILES,
        sends_bytes=True,
        errors=(*SHOWING, RangeNotSatisfiable),
    ),
    Operation(
        *("POST", PATH, threecompute.create_path),
        access=in_person,
        scope=WRITE,
        body_type=BYTES,
        errors=(*CHANGING, FileTooLarge),
    ),
    Operation(
        *("PUT", PATH, threecompute.write_path),
        access=in_person,
        scope=WRITE,
        body_type=BYTES,
        errors=(*CHANGING, FileTooLarge),
    ),
    Operation("DELETE", PATH, threecompute.delete_path, access=in_person, scope=WRITE, errors=CHANGING),
    Operation(
        *("GET", "/files/download/{path:path}", threecompute.download_path),
        scope=READ_FILES,
        sends_bytes=True,
        errors=(*SHOWING, RangeNotSatisfiable),
    ),
]

OPERATIONS = [
    summary_operation(summary.rows_of),
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
        access=in_person,
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
        access=in_person,
        scope=WRITE,
        status=204,
        errors=(TerminalEnded,),
    ),
    Operation(
        *("POST", "/terminal/tickets", terminals.make_ticket),
        scope=READ,  # a ticket to write needs WRITE as well
        status=201,
        errors=(Impersonated, NotFound, NotLocal, TerminalEnded, TooManyRequests),
    ),
    Operation(
        *("POST", PORTS, ports.lease_port),
        access=in_person,
        scope=WRITE,
        status=201,
        errors=(NotLocal, PortsOff, PortTaken, TooManyPorts),
    ),
    Operation("GET", PORTS, ports.list_ports, scope=READ),
    Operation("DELETE", f"{PORTS}/{{lease_id}}", ports.release_port, scope=WRITE, status=204),
    Operation(
        *("POST", f"{PORTS}/{{lease_id}}/visits", ports.open_port),
        scope=WRITE,
        status=201,
        errors=(Impersonated, NotLocal, TooManyRequests),
    ),
    Operation("GET", "/terminal/tabs", tabs.show_tabs, scope=READ),
    Operation("PUT", "/terminal/tabs", tabs.save_tabs, scope=WRITE),
    Operation(
        *("POST", f"{ONE_SESSION}/shares", shares.share_terminal),
        access=in_person,
        scope=WRITE,
        status=201,
        errors=(TerminalEnded, TooManyShares),
    ),
    Operation("GET", f"{ONE_SESSION}/shares", shares.list_shares, scope=READ),
    Operation("DELETE", f"{ONE_SESSION}/shares/{{share_id}}", shares.revoke_share, scope=WRITE, status=204),
    Operation(
        *("GET", SOCKETIO, socketio.poll_packets),
        access=public,
        scope=READ,
        answer_types=("text/plain",),
        errors=(NotLocal, UnknownConnection),
    ),
    Operation(
        *("POST", SOCKETIO, socketio.post_packets),
        access=public,
        scope=READ,
        recorded=False,  # its packets are what is typed
        body_type="text/plain",
        answer_types=("text/plain",),
        errors=(NotLocal, UnknownConnection, BadRequest, TooLarge),
    ),
    Operation(
        *("POST", "/github-webhook", webhook.receive_webhook),
        access=public,
        body_type="application/json",
        also={204: ""},
        errors=(BadSignature, BadWebhook, WrongSignature, NotFound, SeenBefore, TooLarge),
    ),
    Operation(
        *("GET", "/terminal/admin/host", host.show_host),
        access=admin,
        scope=ADMINISTER,
        errors=(EngineUnavailable,),
    ),
    Operation(
        *("POST", "/terminal/admin/selftest", host.run_selftest),
        access=admin,
        scope=ADMINISTER,
        errors=(EngineUnavailable, NotIsolated),
    ),
    Operation(
        *("GET", "/terminal/admin/deployments", webhook.list_deployments), access=admin, scope=ADMINISTER
    ),
    Operation("GET", FILES, files.list_files, scope=READ_FILES, errors=READING),
    Operation("DELETE", FILES, files.delete_entry, access=in_person, scope=WRITE, status=204, errors=WRITING),
    Operation("GET", f"{FILES}/usage", files.show_usage, scope=READ_FILES, errors=(NotLocal,)),
    Operation(
        *("GET", f"{FILES}/content", files.download_workspace_file),
        scope=READ_FILES,
        sends_bytes=True,
        errors=(*READING, RangeNotSatisfiable),
    ),
    Operation(
        *("PUT", f"{FILES}/content", files.write_workspace_file),
        access=in_person,
        scope=WRITE,
        status=201,
        body_type="application/octet-stream",
        errors=(*WRITING, FileTooLarge, NoPrecondition, Stale, BadRequest),
    ),
    Operation(
        *("GET", f"{FILES}/archive", files.download_archive),
        scope=READ_FILES,
        answer_types=("application/zip",),
        errors=READING,
    ),
    Operation(
        "POST",
        f"{FILES}/folders",
        files.make_folder,
        access=in_person,
        scope=WRITE,
        status=201,
        errors=WRITING,
    ),
    Operation(
        "POST",
        f"{FILES}/move",
        files.move_entry,
        access=in_person,
        scope=WRITE,
        errors=(*WRITING, IntoItself),
    ),
    Operation(
        *("POST", f"{FILES}/copy", files.copy_entry),
        access=in_person,
        scope=WRITE,
        status=201,
        errors=(*WRITING, IntoItself, TooManyEntries),
    ),
    Operation(
        *("POST", f"{FILES}/batches", batches.make_batch),
        access=in_person,
        scope=WRITE,
        status=201,
        body_bytes_max=MANIFEST_BYTES_MAX,
        errors=(*WRITING, TooManyEntries),
    ),
    Operation("GET", ONE_BATCH, batches.show_batch, scope=READ_FILES, errors=(NotLocal,)),
    Operation(
        *("PUT", f"{ONE_BATCH}/content", batches.send_contents),
        access=in_person,
        scope=WRITE,
        status=204,
        body_type="application/octet-stream",
        recorded=False,  # the finish is recorded
        errors=(*WRITING, FileTooLarge, Finishing, BadRequest),
    ),
    Operation(
        *("POST", f"{ONE_BATCH}/finish", batches.finish_batch),
        access=in_person,
        scope=WRITE,
        status=201,
        errors=(*WRITING, Incomplete),
    ),
    Operation("DELETE", ONE_BATCH, batches.delete_batch, scope=WRITE, status=204, errors=(NotLocal,)),
    Operation("GET", f"{FILES}/trash", trash.list_trash, scope=READ_FILES),
    Operation("DELETE", f"{FILES}/trash", trash.empty_trash, access=in_person, scope=WRITE, status=204),
    Operation(
        "DELETE", f"{FILES}/trash/{{trash_id}}", trash.purge_entry, access=in_person, scope=WRITE, status=204
    ),
    Operation(
        "POST",
        f"{FILES}/trash/{{trash_id}}/restore",
        trash.restore_entry,
        access=in_person,
        scope=WRITE,
        errors=WRITING,
    ),
    Operation("GET", "/terminal/admin/boxes", boxes.list_boxes, access=admin, scope=ADMINISTER),
    Operation(
        "POST",
        "/terminal/admin/boxes/{box_id}/stop",
        boxes.stop_box_of,
        access=admin,
        scope=ADMINISTER,
        status=204,
    ),
    *THREECOMPUTE,
]
SOCKETS = [
    Socket(
        "/terminal/ws",
        sockets.watch_terminal,
        SUBPROTOCOL,
        scope=READ,  # without WRITE it shows and takes no input
        redeem=sockets.redeem_ticket,
        origins=sockets.allowed_origins,
    ),
    Socket(
        *(SOCKETIO, socketio.serve_packets, ""),
        access=public,
        scope=READ,
        origins=sockets.allowed_origins,
    ),
]
