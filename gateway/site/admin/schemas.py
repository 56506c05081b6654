"""What the admin read API accepts and returns."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from shared.http.schemas import Input, Output, example
from shared.words import pattern

ROUTES_MAX = 1_000
HEADERS_MAX = 50
BODY_BYTES_MAX = 64 * 1024
_METHOD = pattern(r"^[A-Z]{1,20}$", "must be a method in capitals")
_TARGET = pattern(
    r"^/([!-.0-~][!-~]*)?$", "must be a path that begins with one slash, with its query if it has one"
)
_HEADER = pattern(r"^[A-Za-z0-9-]{1,100}:[ -~]{0,1000}$", "must be a name, a colon and a value in ASCII")
_HOST = pattern(r"^[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?$", "must be a host name, with a port if it has one")

HeaderLine = Annotated[str, StringConstraints(pattern=_HEADER)]


class ExplainRequest(Input):
    """A request to explain. It is not sent."""

    model_config = example({"method": "DELETE", "target": "/orders/7", "role": "user"})

    method: str = Field(default="GET", pattern=_METHOD)
    target: str = Field(max_length=2_000, pattern=_TARGET, description="Path and query.")
    host: str = Field(default="localhost", pattern=_HOST)
    role: Literal["user", "admin"] | None = Field(
        default=None, description="Treat it as a request with a valid token of a person with this role."
    )
    headers: list[HeaderLine] = Field(default=[], max_length=HEADERS_MAX)


class Step(Output):
    """One thing that the gateway looks at, in order."""

    name: str
    text: str


class Explanation(Output):
    """What would happen to a request, and why."""

    outcome: Literal["forwarded", "refused", "own"]
    result: str
    steps: list[Step]


class Reloaded(Output):
    """The result of the last load of the routes file."""

    time: str
    success: bool
    changed: bool
    faults: list[str] = Field(
        description="Each fault with its line. While there are any, the previous routes stay active."
    )


class WorkerStatus(Output):
    """One process of the gateway."""

    worker: int
    pid: int
    started: str
    ready: bool
    leaving: bool
    open: int = Field(description="Requests and connections in progress.")
    reload: Reloaded


class Status(Output):
    """The gateway as a whole."""

    version: str
    environment: str
    compiled: bool = Field(description="Whether its hot modules run as machine code (`make compile`).")
    routes: int
    routes_version: str = Field(description="Changes with the content of the routes file.")
    workers: list[WorkerStatus]
    revocations: Literal["current", "stale"]
    limits: str = Field(description="Where rate limits are counted, and whether that place is reachable.")


class RateLimitShown(Output):
    """Requests per time."""

    count: int
    seconds: float
    burst: int
    key: str


class RouteShown(Output):
    """A route at work."""

    name: str
    path: str
    exact: bool
    hosts: list[str]
    methods: list[str]
    auth: str
    roles: list[str]
    scopes: list[str]
    api_keys: bool
    targets: list[str]
    rate_limits: list[RateLimitShown]
    concurrency: int | None
    body_max: int


class AliasShown(Output):
    """Another spelling of paths."""

    path: str
    to: str
    envelope: bool


class RoutesShown(Output):
    """The routes at work, in the order of the file."""

    version: str
    total: int
    routes: list[RouteShown] = Field(description=f"At most {ROUTES_MAX:,}.")
    aliases: list[AliasShown]


class TargetShown(Output):
    """One target as one worker sees it."""

    worker: int
    url: str
    routes: list[str]
    healthy: bool
    ejected: bool
    down: bool
    connections: int
    load: int
    relays: int


class RouteLimits(Output):
    """The limits of one route in one worker."""

    worker: int
    route: str
    counted: str
    rate_limits: dict[str, int] = Field(description="How many callers each limit tracks.")
    under_way: int | None = Field(description="Requests in progress; null without a limit on them.")


class ErrorShown(Output):
    """A refusal of the gateway, or a 5xx of a service."""

    worker: int
    time: str
    request_id: str
    route: str
    status: int
    code: str
    source: str
    phase: str


class BackupShown(Output):
    """A complete backup of all services; `taken` is the moment whose state it has."""

    name: str
    taken: datetime
    size: int


class BackupsShown(Output):
    """The backups in the folder that the gateway knows; `known` is false if there is no such folder here."""

    known: bool
    backups: list[BackupShown] = Field(description="At most 200, newest first.")
