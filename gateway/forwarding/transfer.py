"""A request between its two connections: the state that admission, attempts, headers and relays work on."""

import asyncio
import time
from typing import Any, Protocol

from uvicorn.protocols.http.flow_control import FlowControl

from gateway.clients.connection_limits import Holder
from gateway.http.headers import Request
from gateway.request import Client, RequestState
from gateway.routing.table import Match
from gateway.runtime.gateway import Gateway
from gateway.runtime.live_routes import Routing
from gateway.upstream.balancer import Group
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.pool import Backend
from shared.process.server import State


class ClientSide(Client, Protocol):
    """The part of the client's connection that a request, its response or a relay needs."""

    transport: asyncio.Transport
    server_state: State
    connections: set[Any]
    flow: FlowControl

    @property
    def gateway(self) -> Gateway: ...

    def adjust_reading(self) -> None:
        """Resume or pause reading, depending on whether the request's buffers are full."""

    def exchange_over(self, exchange: "Transfer") -> None:
        """Handle the end of a response; its request may still be arriving."""

    def cut(self) -> None:
        """Close at once, so that the client cannot mistake a partial response for a complete one."""

    def become_relay(self, end: Holder) -> bytes:
        """Give up the transport; return what the client has sent since the handshake."""


class Transfer(RequestState):
    """A request in a running gateway."""

    __slots__ = ("gateway", "group", "routing", "tried", "upstream", "upstream_started")

    client: ClientSide
    backend: Backend | None

    def __init__(self, client: ClientSide, request: Request, match: Match, *, keep_alive: bool) -> None:
        self.gateway = gateway = client.gateway
        self.routing: Routing = gateway.routing  # kept to the end, even if the routes file changes meanwhile
        super().__init__(client, gateway.rules, self.routing.table, request, match, keep_alive=keep_alive)
        self.group: Group | None = None
        self.tried: tuple[Backend, ...] = ()  # in earlier attempts
        self.upstream: UpstreamConnection | None = None
        self.upstream_started = 0.0

    @property
    def takes_whole(self) -> bool:
        """Whether nothing but the request and the client's reading decides about the response."""
        alias = self.match.alias
        return (
            self.request_complete
            and self.attempts == 1
            and self.request.method != b"HEAD"
            and not (self.response_complete or self.client.flow.write_paused)
            and (alias is None or not alias.envelope)
            and not self.policy.changes_answers
        )

    def answer_begins(self, status: int) -> None:
        assert self.backend is not None
        self.status = status
        self.upstream_seconds = time.perf_counter() - self.upstream_started
        if self.backend.standing.is_troubled:
            self.backend.standing.answered()
