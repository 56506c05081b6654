"""Request and response schemas of the terminal service."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints

from shared.http.schemas import Id, Input, Output, Query, example
from shared.words import pattern

Tab = Annotated[
    str,
    StringConstraints(
        pattern=pattern(
            r"^[A-Za-z0-9_-]{1,64}$", "must be 1 to 64 letters, digits, `-` or `_`, for example 1"
        )
    ),
]
Rows = Annotated[int, Field(ge=1, le=500)]
Columns = Annotated[int, Field(ge=2, le=1000)]
Mode = Literal["rw", "ro"]


class OpenTerminal(Input):
    model_config = example({"tab": "1", "rows": 24, "cols": 80})

    tab: Tab = "1"
    rows: Rows = 24
    cols: Columns = 80


class SignalTerminal(Input):
    model_config = example({"signal": "INT"})

    signal: Literal["INT", "TERM", "HUP", "KILL", "QUIT"]


class MakeTicket(Input):
    model_config = example({"session": "0192f0c1-2345-7abc-8def-0123456789ab", "mode": "rw"})

    session: Id
    mode: Mode = "rw"


class CloseQuery(Query):
    grace: float = Field(default=5.0, ge=0, le=60, description="Seconds between SIGHUP and SIGKILL.")


class TicketOut(Output):
    model_config = example({"ticket": "hV8s2nD0yq3mFz1Tt0cQJw", "expires": "2026-01-31T12:00:30Z"})

    ticket: str
    expires: datetime


class TerminalOut(Output):
    model_config = example(
        {
            "id": "0192f0c1-2345-7abc-8def-0123456789ab",
            "tab": "1",
            "epoch": "5f0c2b7a9d3e4f16",
            "state": "open",
            "exit_code": None,
            "exit_signal": None,
            "created": "2026-01-31T12:00:00Z",
            "ended": None,
            "viewers": 1,
            "command": "vim",
            "directory": "/home/work",
        }
    )

    id: Id
    tab: str
    epoch: str
    state: str
    exit_code: int | None = None
    exit_signal: int | None = None
    created: datetime
    ended: datetime | None = None
    viewers: int = 0
    command: str = Field(default="", description="The foreground command; empty if unknown.")
    directory: str = ""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        return cls.model_validate(dict(row))


class LimitsOut(Output):
    model_config = example({"terminals": 8, "viewers": 4, "ring_bytes": 2097152, "idle_seconds": 3600.0})

    terminals: int
    viewers: int
    ring_bytes: int
    idle_seconds: float


class BoxOut(Output):
    """The box of an account; `isolation` is `none` if its shells run as the service's own user."""

    model_config = example(
        {
            "state": "running",
            "reason": None,
            "backend": "docker",
            "isolation": "container",
            "started": "2026-01-31T12:00:00Z",
            "stopped": None,
            "limits": {"terminals": 8, "viewers": 4, "ring_bytes": 2097152, "idle_seconds": 3600.0},
        }
    )

    state: Literal["none", "running", "stopped"]
    reason: str | None = None
    backend: str
    isolation: Literal["none", "container"]
    started: datetime | None = None
    stopped: datetime | None = None
    limits: LimitsOut


class AdminBoxOut(Output):
    model_config = example(
        {
            "id": "0192f0c1-2345-7abc-8def-0123456789ab",
            "owner": "0192f0c1-1111-7abc-8def-0123456789ab",
            "backend": "docker",
            "state": "running",
            "reason": None,
            "created": "2026-01-31T11:59:58Z",
            "started": "2026-01-31T12:00:00Z",
            "stopped": None,
            "last_activity": "2026-01-31T12:10:00Z",
        }
    )

    id: Id
    owner: str
    backend: str
    state: str
    reason: str | None
    created: datetime
    started: datetime
    stopped: datetime | None
    last_activity: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        return cls.model_validate(dict(row))
