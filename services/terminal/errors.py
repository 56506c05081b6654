"""The terminal service's error responses."""

from shared.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    Invalid,
    Problem,
    TooLarge,
    TooManyRequests,
    Unavailable,
)


class TabTaken(Conflict):
    """This tab already has an open terminal; use it or close it by its id in `session`."""

    code = "tab_taken"


class TooManyTerminals(Conflict):
    """You have reached the limit of open terminals; close one first."""

    code = "too_many_terminals"


class TerminalEnded(Conflict):
    """The shell of this terminal has ended; open a new one."""

    code = "ended"


class TooManyViewers(TooManyRequests):
    """This terminal is already open in the maximum number of places; close one first."""

    code = "too_many_viewers"


class TooManyShares(Conflict):
    """This terminal has the maximum number of shares; revoke one first."""

    code = "too_many_shares"


class NoCapacity(Problem):
    """This server is at capacity; try again later."""

    status = 503
    code = "no_capacity"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "60"})


class EngineUnavailable(Unavailable):
    """No engine is available here to run a shell; ask the operator of this server."""

    code = "engine_unavailable"


class ShellNotStarted(Unavailable):
    """The shell did not start in time; try again later."""

    code = "shell_not_started"


class UnknownConnection(BadRequest):
    """This Socket.IO connection does not exist, or another request uses it; connect again."""

    code = "unknown_connection"


class NotLocal(Forbidden):
    """Shells on this server are not isolated, so only browsers on the same machine may open them."""

    code = "not_local"


class NotIsolated(Conflict):
    """Shells on this server are not isolated, so there is nothing to test."""

    code = "not_isolated"


class PortsOff(Conflict):
    """This server has no domain for ports; ask its operator to set PORTS_DOMAIN."""

    code = "ports_off"


class PortTaken(Conflict):
    """You have a lease for this port already; its id is in `lease`."""

    code = "port_taken"


class TooManyPorts(Conflict):
    """You have reached the limit of leased ports; release one first."""

    code = "no_ports"


class NothingListens(Problem):
    """No program in the box accepts connections at this port."""

    status = 502
    code = "nothing_listens"


class PortUnreachable(Problem):
    """The box could not connect to this port; try again later."""

    status = 502
    code = "port_unreachable"


class BadPortResponse(Problem):
    """The program at this port did not send a valid HTTP response."""

    status = 502
    code = "bad_response"


class BoxStopped(Unavailable):
    """The box with this port is not running."""

    code = "box_stopped"


class TooManyStreams(Unavailable):
    """Too many connections to the ports of this box are open; try again later."""

    code = "too_many_streams"


class BadSignature(BadRequest):
    """X-Hub-Signature-256 must be `sha256=` and 64 hexadecimal digits."""

    code = "bad_signature"


class WrongSignature(Forbidden):
    """The signature does not match the body; check the secret at GitHub."""

    code = "wrong_signature"


class BadWebhook(BadRequest):
    """This is not an event that GitHub sends."""

    code = "bad_webhook"


class SeenBefore(Conflict):
    """This delivery or this run was received before."""

    code = "seen_before"


class BadPath(Invalid):
    """This is not a valid path in a workspace."""

    code = "bad_path"


class WrongKind(Conflict):
    """There is something of another kind at this path, for example a folder instead of a file."""

    code = "wrong_kind"


class Exists(Conflict):
    """There is something at this path already; `conflicts` lists the paths. Set `overwrite` to replace it."""

    code = "exists"


class IntoItself(Conflict):
    """A folder cannot be moved or copied into itself."""

    code = "into_itself"


class Changing(Conflict):
    """The folders on this path are being changed at the moment; try again."""

    code = "changing"


class NotPermitted(Forbidden):
    """The permissions of this file or folder do not allow it; change them in a terminal."""

    code = "not_permitted"


class Incomplete(Conflict):
    """Some contents of this batch have not arrived; `missing` lists the ranges of their numbers."""

    code = "incomplete"


class Finishing(Conflict):
    """This batch is being finished and takes no contents; repeat the finish."""

    code = "finishing"


class TooManyEntries(Conflict):
    """The folder has more entries than this operation accepts; work on its parts."""

    code = "too_many_entries"


class FileTooLarge(TooLarge):
    """The file is larger than this server accepts in one request."""

    code = "file_too_large"


class NoPrecondition(Problem):
    """Send `If-None-Match: *` to create this file, or `If-Match` with its ETag to replace it."""

    status = 428
    code = "precondition_required"


class HomeFull(Problem):
    """Your workspace is full; delete files, and empty the trash."""

    status = 507
    code = "home_full"


class StorageFull(Problem):
    """The server has no storage left; try again later, or tell its operator."""

    status = 507
    code = "storage_full"
