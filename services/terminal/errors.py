"""The terminal service's error responses."""

from shared.errors import Conflict, Forbidden, Problem, TooManyRequests, Unavailable


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


class NotLocal(Forbidden):
    """Shells on this server are not isolated, so only browsers on the same machine may open them."""

    code = "not_local"
