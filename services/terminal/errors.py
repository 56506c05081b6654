"""Why the terminal service refuses."""

from shared.errors import Conflict, Forbidden, Problem, TooManyRequests, Unavailable


class TabTaken(Conflict):
    """A terminal is open in this tab already; `session` is its id."""

    code = "tab_taken"


class TooManyTerminals(Conflict):
    """You have as many terminals open as you may have; close one of them."""

    code = "too_many_terminals"


class TerminalEnded(Conflict):
    """The shell of this terminal has ended."""

    code = "ended"


class TooManyViewers(TooManyRequests):
    """This terminal is shown in as many places as it may be; close one of them."""

    code = "too_many_viewers"


class NoCapacity(Problem):
    """As many boxes are running as this server takes; try again later."""

    status = 503
    code = "no_capacity"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "60"})


class EngineUnavailable(Unavailable):
    """There is nothing that could run a shell here. The operator of this server can change that."""

    code = "engine_unavailable"


class ShellNotStarted(Unavailable):
    """The shell did not start in time; try again in a moment."""

    code = "shell_not_started"


class NotLocal(Forbidden):
    """Shells are not isolated on this server, so that only browsers on the same machine may open them."""

    code = "not_local"
