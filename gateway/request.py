"""The state of one request while it passes through the gateway."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.errors import Kind
from gateway.http.headers import Fields, Request
from gateway.http.known_head import KnownHead
from gateway.routing.cors import Cors
from gateway.routing.table import Match, Policy, RouteTable
from gateway.routing.upstreams import Origin
from shared.caller import Caller
from shared.ids import new_id
from shared.process.observe import request_id_of
from shared.process.proxies import Proxies
from shared.tracing.spans import Span

DISCARDED_BYTES_MAX = 64 * 1024
NO_PROXIES = Proxies(())
NO_POLICY = Policy()  # of a request that matches no route


class Client(Protocol):
    """The connection that a request arrived on."""

    @property
    def peer(self) -> str:
        """The address of the other end, which may be a proxy."""

    @property
    def scheme(self) -> str | None: ...


class ChosenTarget(Protocol):
    """The target that a request is sent to."""

    @property
    def name(self) -> str: ...

    @property
    def host_line(self) -> bytes: ...

    @property
    def origin(self) -> Origin: ...


@dataclass(frozen=True, slots=True)
class RequestRules:
    """How a gateway reads requests, whatever their route."""

    proxies: Proxies = NO_PROXIES
    api_key_header: bytes = b"x-api-key"
    session_cookie: bytes = b"__Host-session"
    origin: str = ""  # of our own pages


class RequestState:
    """One request: what it asks for, who sent it, and its progress so far.

    Policies, metrics and target selection read and write nothing else. `Exchange` adds the
    connections on both sides and drives the request.
    """

    # One is created per request; slots avoid a large dictionary each time.
    __slots__ = """
        attempt_span attempts backend caller client failure fields id_line keep_alive known limit_headers
        match passed policy received_bytes request request_complete request_id response_complete
        response_started route rules sent_bytes span started status table trace upstream_seconds
    """.split()

    client: Client
    backend: ChosenTarget | None
    fields: Fields
    passed: Sequence[bytes]  # the headers for the target; a policy replaces them, and never changes them
    request_id: str
    id_line: bytes

    def __init__(
        self,
        client: Client,
        rules: RequestRules,
        table: RouteTable,
        request: Request,
        match: Match,
        *,
        keep_alive: bool,
    ) -> None:
        self.client = client
        self.rules = rules
        self.table = table
        self.request = request
        self.match = match
        self.route = match.route
        self.policy = NO_POLICY if match.route is None else match.route.policy
        self.keep_alive = keep_alive
        self.started = time.perf_counter()
        self.caller: Caller | None = None
        self.failure: Kind | None = None
        self.backend = None  # of the last attempt
        self.upstream_seconds = 0.0
        self.attempts = self.status = self.sent_bytes = self.received_bytes = 0
        self.request_complete = self.response_started = self.response_complete = False
        self.limit_headers = b""
        self.trace = b""  # its context, while tracing is on and once that has been decided
        self.span: Span | None = None
        self.attempt_span: Span | None = None  # of the attempt that is not over
        self.known: KnownHead | None = None  # if the headers are those of an earlier request

    def read_headers(self) -> None:
        """Sort the headers; for a pipelined request only when its turn comes."""
        known = self.known
        if known is None:
            self.fields = Fields(self.request.headers)
            self.request_id = request_id_of(self.request.headers)
        else:
            self.fields, self.request_id = known.fields, new_id()
        self.passed = self.fields.passed
        self.id_line = b"x-request-id: %b\r\n" % self.request_id.encode()

    @property
    def address(self) -> str:
        """The address of the client: the peer, or what a trusted proxy reports in X-Forwarded-For."""
        if self.known is not None:
            return self.known.address
        forwarded_for = self.fields.seen.get(b"x-forwarded-for")
        return self.rules.proxies.client_address(self.client.peer, forwarded_for)

    @property
    def cors(self) -> Cors:
        return self.table.cors if self.route is None else self.policy.cors

    @property
    def is_chunked(self) -> bool:
        return b"transfer-encoding" in self.fields.seen

    @property
    def rest_is_small(self) -> bool:
        """Whether to read and discard the rest of the request so that the connection can be kept alive."""
        if self.request_complete or self.is_chunked:
            return self.request_complete
        return int(self.fields.seen.get(b"content-length", 0)) - self.received_bytes <= DISCARDED_BYTES_MAX
