"""The client's connection: uvicorn's protocol, except that requests for a route bypass the application."""

import asyncio
import time
from typing import Any, cast

import httptools
import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway import errors
from gateway.clients.connection_limits import Holder
from gateway.errors import Kind, Refusal
from gateway.forwarding.exchange import Exchange
from gateway.forwarding.request_head import NOWHERE, read_head
from gateway.forwarding.transfer import Transfer
from gateway.http.coalescing import Outlet
from gateway.http.framing import HEAD_BYTES_MAX
from gateway.http.headers import Request
from gateway.routing.table import Match
from gateway.runtime.gateway import Gateway
from gateway.telemetry.metrics import note_stalled
from shared.process.server import State

ALIAS = "gatehouse.alias"  # scope key of the alias that the client used
TARGET = "gatehouse.target"  # scope key of the target as the client sent it
PIPELINED_MAX = 100
EARLY_BYTES_MAX = 64 * 1024
LINGER_SECONDS = 2.0
BEGUN_BYTES = len("\r\n") + 1  # from this many bytes on a head has begun; fewer may be an empty line

log = structlog.get_logger(__name__)


class GatewayProtocol(HttpToolsProtocol):
    """Reads requests and starts an exchange for each one that matches a route.

    Responses keep the order of the requests: uvicorn's queue (`pipeline`) contains forwarded ones as well.
    """

    server_state: State

    # Slots, because Python would need a dictionary for this many attributes, uvicorn's included.
    __slots__ = """
        _begins_late _current _deaf _early _head_bytes _is_long _moved _pieces _watched deadline gateway peer
    """.split()

    def __init__(
        self,
        config: Config,
        server_state: State,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.gateway: Gateway = app_state["gateway"]
        self.peer = ""
        self._current: Exchange | RequestResponseCycle | None = None
        self._early = self.url = b""
        self._head_bytes = 0  # bytes buffered of an incomplete head, or of trailers
        self._begins_late = False  # whether the current head began part-way through a read, after other data
        self._pieces: list[bytes] = []  # body chunks received in this read
        self._is_long = False  # whether a head that ends in this read may exceed the limit
        self._moved = False  # whether a head was completed or body bytes arrived since the last read
        self._deaf = False  # whether to discard all further input
        self.deadline = 0.0  # by which an expected head must be complete
        self._watched: int | None = None  # the descriptor, while only the end of the connection is awaited

    # Called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", Outlet(transport)))
        self.peer = self.client[0] if self.client else ""
        kind = self.gateway.crowd.enter(self.transport, self, self.peer)
        self._expect_head()
        if kind is not None:
            self._turn_away(kind)

    def connection_lost(self, exc: Exception | None) -> None:
        current, self._current = self._current, None
        self._watch_for_end(False)
        if isinstance(current, Exchange):
            current.client_gone()
        self.pipeline.clear()
        self.gateway.open.discard(self)
        self.gateway.idle.pop(self, None)
        self.gateway.crowd.leave(self.transport)
        # uvicorn notifies the request in `cycle`, so `cycle` has to be the request in progress.
        self.cycle = current if isinstance(current, RequestResponseCycle) else None  # type: ignore[assignment]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._is_switching:
            self._keep_early(data)
            return
        self._is_long = self._begins_late or self._head_bytes + len(data) > HEAD_BYTES_MAX
        while data and not self._deaf:
            try:
                self.parser.feed_data(data)
                if self._pieces:
                    self._pass_pieces()
                self._after_read(len(data))
                data = b""
            except httptools.HttpParserUpgrade as upgrade:
                self._after_read(0)
                data = data[upgrade.args[0] :]
                self._fresh_parser()
                if self._is_switching:
                    self._keep_early(data)
                    return
            except httptools.HttpParserCallbackError as error:
                log.exception("connection_failed", exc_info=error.__context__ or error)
                self.cut()
                return
            except httptools.HttpParserError:
                self._refuse_what_was_read(Refusal(errors.MALFORMED))
                return

    def pause_writing(self) -> None:
        super().pause_writing()
        if isinstance(self._current, Exchange) and self._current.upstream is not None:
            self._current.upstream.hold_reading()
        elif self._current is None:
            self.adjust_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if isinstance(self._current, Exchange):
            self._current.client_ready()
        elif not self._deaf:
            self._next()

    # Called by the parser.

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        if self._moved:
            self._begins_late = self._is_long = True  # measured once complete
        else:
            self._begins_late = False
        self._moved, self._head_bytes = False, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._moved, self._begins_late = True, False
        self.gateway.open.discard(self)
        if self._deaf:
            return
        # Trailers arrive later and must not be added to the headers.
        headers, self.headers = self.headers, []
        target, self.url = self.url, b""
        request, match, keep_alive = read_head(
            self.parser, target, headers, self.gateway.table, is_long=self._is_long
        )
        if match.route is None and request.fault is None:
            self._hand_to_app(request, match)
        else:
            self._enqueue(Exchange(self, request, match, keep_alive=keep_alive))

    def on_body(self, body: bytes) -> None:
        cycle: Any = self.cycle
        self._moved = True
        if self._deaf:
            return
        if isinstance(cycle, Exchange):
            self._pieces.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        cycle: Any = self.cycle
        self._moved = True
        if self._deaf:
            return
        if isinstance(cycle, Exchange):
            if self._pieces:
                self._pass_pieces()
            cycle.request_end()
        else:
            super().on_message_complete()

    def _pass_pieces(self) -> None:
        """Pass on the chunks of one read together: a call costs the same however small the chunk."""
        cycle: Any = self.cycle
        pieces, self._pieces = self._pieces, []
        if not self._deaf and isinstance(cycle, Exchange):
            cycle.request_body(b"".join(pieces))

    # Order and flow.

    def _enqueue(self, exchange: Exchange) -> None:
        existing: Any = self.cycle
        self.cycle = exchange  # type: ignore[assignment]
        if existing is None or existing.response_complete:
            self._start_asgi_task(exchange, self.app)  # type: ignore[arg-type]
            return
        self.flow.pause_reading()
        self.pipeline.appendleft((exchange, self.app))  # type: ignore[arg-type]
        if len(self.pipeline) >= PIPELINED_MAX:
            # The queue is full: this request gets `Connection: close`, and the client resends later ones.
            exchange.keep_alive = False
            exchange.request_complete = True
            self._deaf = True

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._current = cycle
        started: Any = cycle
        if isinstance(started, Exchange):
            started.start()
        else:
            super()._start_asgi_task(cycle, app)

    def _hand_to_app(self, request: Request, match: Match) -> None:
        super().on_message_begin()
        self.url = match.target
        for name, value in request.headers:
            super().on_header(name, value)
        scope = cast("dict[str, Any]", self.scope)
        scope[ALIAS], scope[TARGET] = match.alias, request.target
        super().on_headers_complete()
        self.headers = []

    def exchange_over(self, exchange: Transfer) -> None:
        """Close after a complete response, or read on once the whole request has been read."""
        if self.transport.is_closing():
            return
        if not exchange.keep_alive:
            self._close(linger=self._deaf or not exchange.request_complete)
        elif exchange.request_complete:
            self.on_response_complete()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        self._current = None
        if self.transport.is_closing():
            return
        if self.pipeline:
            # In its own turn of the event loop: a long queue of quick responses would nest calls too deeply.
            self.loop.call_soon(self._next)
            return
        if self._watched is not None or self.flow.read_paused or self.flow.write_paused:
            self.adjust_reading()
        self.gateway.idle[self] = time.monotonic()
        if self._early:
            early, self._early = self._early, b""
            self.data_received(early)

    def _next(self) -> None:
        if self.transport.is_closing() or self._current is not None or self.flow.write_paused:
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            self._after_read(0)
        self.adjust_reading()  # the rest of its body may still have to arrive

    def adjust_reading(self) -> None:
        """Read on unless the request's buffers are full, requests are queued, or responses are not read."""
        current = self._current
        if self.transport.is_closing():
            return
        is_full = isinstance(current, Exchange) and current.is_full
        if is_full or self._watched is not None:
            self._watch_for_end(is_full)
        if self.pipeline or is_full or (current is None and self.flow.write_paused):
            self.flow.pause_reading()
        else:
            self.flow.resume_reading()

    def _watch_for_end(self, wanted: bool) -> None:
        """Start or stop watching for the connection's end, which goes unnoticed while reading is paused."""
        if wanted and self._watched is None:
            self._watched = self.gateway.hangups.watch(self.transport, self.cut)
        elif not wanted and self._watched is not None:
            self.gateway.hangups.forget(self._watched)
            self._watched = None

    # Closing.

    def cut(self) -> None:
        """Close at once, so that the client cannot mistake a partial response for a complete one."""
        if not self.transport.is_closing():
            self.transport.abort()

    def _close(self, *, linger: bool) -> None:
        self._deaf = True
        self._watch_for_end(False)
        if not linger or not self.transport.can_write_eof():  # closing TLS lingers by itself
            self.transport.close()
            return
        # Closing with unread data makes the system send a reset, which can overtake the response.
        self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _after_read(self, read_bytes: int) -> None:
        current = self._current
        if isinstance(current, Exchange):
            if not current.request_complete:
                self.gateway.pace.arrives(current)
        elif current is None and not self.pipeline and self not in self.gateway.idle:
            self._expect_head()  # the bytes read are not a complete request head yet
        if self._moved:
            self._moved, self._head_bytes = False, 0
            return
        # The parser buffers an incomplete head, or trailers. The last request's part of a read is unknown.
        self._head_bytes += BEGUN_BYTES if self._begins_late and not self._head_bytes else read_bytes
        if self._head_bytes > HEAD_BYTES_MAX:
            self._refuse_what_was_read(Refusal(errors.HEAD_TOO_LARGE))

    def _unset_keepalive_if_required(self) -> None:
        """Replace uvicorn's method, which sets a timer for each pause between two requests."""
        self.gateway.idle.pop(self, None)

    # Called by the gateway's clock, for connections that expect a head.

    def _expect_head(self) -> None:
        if self not in self.gateway.open:
            self.deadline = time.monotonic() + self.gateway.settings.head_seconds
            self.gateway.open.add(self)

    def expire(self) -> None:
        """Refuse a head that did not arrive in time; close an idle connection without a response."""
        self.gateway.open.discard(self)
        if self._current is not None:
            return
        if self._head_bytes >= BEGUN_BYTES:  # old browsers send an empty line after a body
            self._refuse_what_was_read(Refusal(errors.HEAD_TIMEOUT))
        else:
            self.transport.close()

    def stalled(self) -> None:
        if isinstance(self._current, Exchange):
            self._current.refuse(Refusal(errors.CLIENT_STALLED))
        else:
            note_stalled(self.peer)

    def recheck_access(self) -> None:
        """Do nothing: no request has arrived yet."""

    def close(self) -> None:
        self.gateway.open.discard(self)
        if self._current is None:
            self.transport.close()

    def _turn_away(self, kind: Kind) -> None:
        """Refuse the connection; send a response unless too many are being refused at once."""
        if self.gateway.crowd.is_stormed:
            self.transport.abort()
        else:
            self._refuse_what_was_read(Refusal(kind, headers={"Retry-After": "1"}))

    def _refuse_what_was_read(self, refusal: Refusal) -> None:
        """Refuse invalid input. Earlier requests still get their responses."""
        self._pieces.clear()
        cycle: Any = self.cycle
        if isinstance(cycle, RequestResponseCycle) and cycle.more_body:
            self.cut()
        elif isinstance(cycle, Exchange) and not cycle.request_complete:
            cycle.keep_alive = False
            cycle.request.fault = refusal
            if cycle is self._current:
                cycle.refuse(refusal)
        else:
            method = self.parser.get_method() if self.url else b"GET"  # known once the target has been read
            request = Request(method, self.url or b"/", [])
            request.fault = refusal
            self._enqueue(Exchange(self, request, NOWHERE, keep_alive=False))
        self._deaf = True

    # Other protocols.

    @property
    def _is_switching(self) -> bool:
        cycle: Any = self.cycle
        return isinstance(cycle, Exchange) and cycle.request.upgrade and not cycle.response_complete

    def _keep_early(self, data: bytes) -> None:
        self._early += data
        if len(self._early) > EARLY_BYTES_MAX:
            self.flow.pause_reading()

    def become_relay(self, end: Holder) -> bytes:
        """Give the transport to a relay; return what the client has sent since the handshake."""
        self._unset_keepalive_if_required()
        self._current = None
        self.connections.discard(self)
        self.connections.add(end)  # type: ignore[arg-type]
        self.gateway.crowd.seats[self.transport].holder = end
        self.flow.resume_reading()
        early, self._early = self._early, b""
        return early

    def _fresh_parser(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
