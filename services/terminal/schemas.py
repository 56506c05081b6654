"""Request and response schemas of the terminal service."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from shared.http.schemas import Id, Input, Output, Query, Versioned, example
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
TABS_MAX = 32
TabName = Annotated[
    str,
    StringConstraints(
        pattern=pattern(r"^[^\x00-\x1f\x7f]{1,64}$", "must be 1 to 64 characters without control characters")
    ),
]


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
    share: str | None = Field(
        default=None, min_length=1, max_length=100, description="The token of a share, for guests."
    )


class SaveTabs(Input):
    model_config = example({"tabs": ["1", "2"], "names": {"2": "Tests"}, "active": "2"})

    tabs: list[Tab] = Field(min_length=1, max_length=TABS_MAX)
    names: dict[Tab, TabName] = Field(default_factory=dict, max_length=TABS_MAX)
    active: Tab

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if len(set(self.tabs)) < len(self.tabs):
            raise ValueError("tabs must not contain a tab twice")
        if self.active not in self.tabs or not set(self.names) <= set(self.tabs):
            raise ValueError("active and the keys of names must be in tabs")
        return self


class TabsOut(Versioned):
    model_config = example(
        {
            "version": 3,
            "tabs": ["1", "2"],
            "names": {"2": "Tests"},
            "active": "2",
            "sessions": {"1": "0192f0c1-2345-7abc-8def-0123456789ab"},
        }
    )

    tabs: list[str]
    names: dict[str, str]
    active: str
    sessions: dict[str, str] = Field(description="The open terminal of each tab that has one.")


class MakeShare(Input):
    model_config = example({"mode": "ro", "hours": 1, "guest": "0192f0c1-1111-7abc-8def-0123456789ab"})

    mode: Mode = "ro"
    hours: int = Field(default=1, ge=1, le=24)
    guest: Id | None = Field(default=None, description="The only account that may use the share.")


class ShareOut(Output):
    model_config = example(
        {
            "id": "0192f0c1-4321-7abc-8def-0123456789ab",
            "mode": "ro",
            "guest": None,
            "uses": 2,
            "watching": 1,
            "created": "2026-01-31T12:00:00Z",
            "expires": "2026-01-31T13:00:00Z",
        }
    )

    id: Id
    mode: Mode
    guest: str | None
    uses: int
    watching: int = Field(default=0, description="Sockets that are open through this share.")
    created: datetime
    expires: datetime


class MadeShareOut(Output):
    model_config = example(
        {
            "id": "0192f0c1-4321-7abc-8def-0123456789ab",
            "mode": "ro",
            "guest": None,
            "expires": "2026-01-31T13:00:00Z",
            "token": "hV8s2nD0yq3mFz1Tt0cQJw",
            "url": "https://app.example/terminal/#session=0192f0c1-2345-7abc-8def-0123456789ab&share=hV8s2nD0yq3m",
        }
    )

    id: Id
    mode: Mode
    guest: str | None
    expires: datetime
    token: str
    url: str = Field(description="Opens the page; the token is in the fragment, which no server receives.")


class LeasePort(Input):
    model_config = example({"port": 5173, "name": "shop", "visibility": "private", "hours": 8})

    port: int | None = Field(
        default=None, ge=1, le=65535, description="Default: the lowest from 3000 that you have not leased."
    )
    name: (
        Annotated[
            str,
            StringConstraints(
                pattern=pattern(
                    r"^[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?$",
                    "must be 1 to 30 lower-case letters, digits or inner hyphens, for example shop",
                )
            ),
        ]
        | None
    ) = Field(default=None, description="The start of its host name; default: `port-` and the number.")
    visibility: Literal["private", "members", "public"] = "private"
    hours: int = Field(default=8, ge=1, le=168)


class PortOut(Output):
    model_config = example(
        {
            "id": "0192f0c1-4321-7abc-8def-0123456789ab",
            "port": 5173,
            "name": "shop",
            "visibility": "private",
            "url": "https://shop-6f1d2c3b4a59.ports.example/",
            "listening": True,
            "created": "2026-01-31T12:00:00Z",
            "expires": "2026-01-31T20:00:00Z",
        }
    )

    id: Id
    port: int
    name: str
    visibility: Literal["private", "members", "public"]
    url: str
    listening: bool = Field(default=False, description="Whether a program in the box accepts connections.")
    created: datetime
    expires: datetime


class VisitOut(Output):
    model_config = example(
        {
            "url": "https://shop-6f1d2c3b4a59.ports.example/.gatehouse/enter?ticket=hV8s2nD0yq3mFz1Tt0cQJw",
            "expires": "2026-01-31T12:00:30Z",
        }
    )

    url: str = Field(
        description="Opens the port once in the browser that follows it; public ports need no ticket."
    )
    expires: datetime


class CloseQuery(Query):
    grace: float = Field(default=5.0, ge=0, le=60, description="Seconds between SIGHUP and SIGKILL.")


class TicketOut(Output):
    model_config = example(
        {"ticket": "hV8s2nD0yq3mFz1Tt0cQJw", "mode": "rw", "expires": "2026-01-31T12:00:30Z"}
    )

    ticket: str
    mode: Mode = Field(description="`ro` if the share is view-only.")
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


class HostOut(Output):
    model_config = example(
        {
            "backend": "docker",
            "isolation": "container",
            "engine": {"version": "27.1.1", "cgroups": "v2 systemd"},
            "image": "gatehouse-workspace:1",
            "network": "none",
            "runtime": None,
            "boxes_running": 3,
            "boxes_max": 20,
            "box_memory": 1073741824,
            "box_cpus": 1.0,
            "box_pids": 256,
            "box_tmp": 268435456,
            "home_bytes": 5368709120,
            "home_entries": 200000,
        }
    )

    backend: str
    isolation: Literal["none", "container"]
    engine: dict[str, str]
    image: str
    network: str
    runtime: str | None
    boxes_running: int
    boxes_max: int
    box_memory: int
    box_cpus: float
    box_pids: int
    box_tmp: int
    home_bytes: int
    home_entries: int


class CheckOut(Output):
    model_config = example({"name": "not root", "holds": True, "seen": "1000"})

    name: str
    holds: bool
    seen: str


class SelftestOut(Output):
    model_config = example({"holds": True, "checks": [{"name": "not root", "holds": True, "seen": "1000"}]})

    holds: bool
    checks: list[CheckOut]


class DeploymentOut(Output):
    model_config = example(
        {
            "id": "0192f0c1-4321-7abc-8def-0123456789ab",
            "repository": "acme/app",
            "branch": "main",
            "sha": "5f0c2b7a9d3e4f165f0c2b7a9d3e4f165f0c2b7a",
            "state": "done",
            "output": "restarted\n",
            "created": "2026-01-31T12:00:00Z",
            "ended": "2026-01-31T12:01:00Z",
        }
    )

    id: Id
    repository: str
    branch: str
    sha: str
    state: str
    output: str
    created: datetime
    ended: datetime | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        return cls.unchecked(row)


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
