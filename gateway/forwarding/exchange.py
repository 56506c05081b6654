"""One request and its answer, passed between a client's connection and a backend's as they arrive."""

import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from gateway import errors
from gateway.errors import Kind, Refusal
from gateway.forwarding import attempts, heads
from gateway.forwarding.admission import admit, dismiss
from gateway.forwarding.envelope import Envelope
from gateway.forwarding.relay import Relay, may_switch
from gateway.http.headers import AnswerFields, Fields, Header, Request
from gateway.routing.table import Match
from gateway.upstream.balancer import Group
from gateway.upstream.connection import BODILESS, UpstreamConnection
from gateway.upstream.pool import Backend
from shared.caller import Caller
from shared.process.observe import request_id_of

if TYPE_CHECKING:
    from gateway.forwarding.client_protocol import GatewayProtocol

HELD_BYTES_MAX = 64 * 1024
DISCARDED_BYTES_MAX = 64 * 1024
DISCARD_SECONDS = 5.0
NEVER = float("inf")

log = structlog.get_logger(__name__)


class Exchange:
    """A request on its way to a backend and the answer on its way back.

    It stands where uvicorn keeps a cycle, and has what uvicorn looks at: `response_complete`, `keep_alive`.
    """

    # One is made for each request: without slots its many fields would fill a dictionary every time.
    __slots__ = """
        _answer_chunked _begun _continue_sent _envelope _held _sent _to_client attempts backend caller
        client deadline failure fields gateway group id_line is_collecting keep_alive limit_headers match
        received_bytes request request_complete request_id response_complete response_started route
        routing sent_bytes started status tried upstream upstream_seconds upstream_started
    """.split()

    def __init__(
        self, client: "GatewayProtocol", request: Request, match: Match, *, keep_alive: bool
    ) -> None:
        self.client = client
        self.gateway = client.gateway
        self.routing = client.gateway.routing  # to its end, whatever file is read meanwhile
        self.request = request
        self.match = match
        self.route = match.route
        self.keep_alive = keep_alive
        self.started = time.perf_counter()
        self.deadline = NEVER
        self.caller: Caller | None = None
        self.failure: Kind | None = None
        self.group: Group | None = None
        self.backend: Backend | None = None  # that of the last attempt
        self.tried: tuple[Backend, ...] = ()  # those of the attempts before it
        self.upstream: UpstreamConnection | None = None
        self.upstream_started = self.upstream_seconds = 0.0
        self.attempts = self.status = self.sent_bytes = self.received_bytes = 0
        self.request_complete = self.response_started = self.response_complete = False
        self.is_collecting = False  # a small body, without a connection to the backend
        self.limit_headers = b""
        self._held: list[bytes] = []
        self._sent: list[bytes] = []  # kept for another attempt, while it is little
        self._to_client: list[bytes] = []  # of one read, to its end: so long a refusal can take its place
        self._envelope: Envelope | None = None
        self._begun = self._continue_sent = self._answer_chunked = False

    # The request, called by the client's connection.

    def start(self) -> None:
        """Everything before it is answered: let it in or refuse it."""
        self._begun = True
        self.fields = Fields(self.request.headers)
        self.request_id = request_id_of(self.request.headers)
        self.id_line = b"x-request-id: %b\r\n" % self.request_id.encode()
        self._step(admit)

    def _step(self, step: Callable[["Exchange"], None]) -> None:
        try:
            step(self)
        except Refusal as refusal:
            self.refuse(refusal)

    @property
    def address(self) -> str:
        """Who asks: the peer of the connection, or whom a trusted proxy says it asks for."""
        forwarded_for = self.fields.seen.get(b"x-forwarded-for")
        return self.gateway.proxies.client_address(self.client.peer, forwarded_for)

    def wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        """Go on in a task: the few steps that cannot be taken at once."""
        self.gateway.spawn(self._until_done(work))

    async def _until_done(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Refusal as refusal:
            self.refuse(refusal)
        except Exception as error:
            log.exception("exchange_failed", request_id=self.request_id, exc_info=error)
            self.refuse(Refusal(errors.INTERNAL))

    def request_body(self, piece: bytes) -> None:
        self.received_bytes += len(piece)
        if self.response_complete or self.route is None:
            return
        if self.request.method in attempts.REPEATABLE:
            self._keep(piece)
        if not self._begun:
            # It waits behind others; the connection reads no more meanwhile.
            attempts.gather(self._held, piece)
        elif self.received_bytes > self.route.policy.body_max:
            self.refuse(errors.too_large(self.route.policy.body_max))
        elif self.upstream is None:
            attempts.gather(self._held, piece)
            self.client.adjust_reading()
        else:
            self.upstream.transport.write(self._framed(piece))
            self.progress()

    def request_end(self) -> None:
        self.request_complete = True
        if self.response_complete:
            self.client.exchange_over(self)
        elif self.upstream is not None:
            if self._is_chunked:
                self.upstream.transport.write(b"0\r\n\r\n")
            self.progress()
        elif self.is_collecting:
            self.is_collecting = False
            self._step(attempts.forward)

    @property
    def is_full(self) -> bool:
        """Whether the client should wait with more of its body."""
        if self.upstream is not None:
            return self.upstream.write_paused
        return bool(self._held) and self.received_bytes > HELD_BYTES_MAX

    @property
    def awaits_continue(self) -> bool:
        return b"expect" in self.fields.seen and not self.received_bytes and not self._continue_sent

    def client_gone(self) -> None:
        if not self.response_complete:
            self.failure = errors.CLIENT_GONE
            self.status = self.status or errors.CLIENT_GONE.status
            self._drop_upstream()
            self._over()

    # Towards the backend.

    def send(self, connection: UpstreamConnection) -> None:
        self.upstream = connection
        self.upstream_started = time.perf_counter()
        connection.begin(self)
        connection.transport.write(heads.upstream_head(self))
        self.gateway.open.add(self)
        self.progress()
        if self._held:
            connection.transport.write(b"".join(map(self._framed, self._held)))
            self._held.clear()
            self.client.adjust_reading()
        if self.request_complete and self._is_chunked:
            connection.transport.write(b"0\r\n\r\n")

    def hold_all(self) -> None:
        """Nothing of the body counts as sent, since the whole request is going to be sent again."""
        self._held = list(self._sent)
        self.deadline = NEVER

    def _keep(self, piece: bytes) -> None:
        assert self.route is not None
        if self.received_bytes <= self.route.policy.retry.buffer:
            attempts.gather(self._sent, piece)
        else:
            self._sent.clear()

    @property
    def _is_chunked(self) -> bool:
        return b"transfer-encoding" in self.fields.seen

    def _framed(self, piece: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(piece), piece) if self._is_chunked else piece

    def progress(self) -> None:
        """Something moved: the clock of the current phase begins again."""
        assert self.route is not None
        timeouts = self.route.policy.timeouts
        waits_for_answer = self.request_complete and not self.response_started
        self.deadline = time.monotonic() + (timeouts.first_byte if waits_for_answer else timeouts.idle)

    # The answer, called by the backend's connection.

    def interim(self, status: int, fields: AnswerFields) -> None:
        """A 1xx answer: passed on at once, and the real one is still to come."""
        if self.response_complete or self.request.is_http10:
            return
        self._continue_sent = self._continue_sent or status == 100
        self.client.transport.write(b"".join((STATUS_LINE[status], *fields.passed, b"\r\n")))

    def answer_head(self, status: int, fields: AnswerFields) -> None:
        if status not in STATUS_LINE:
            self.upstream_invalid()
            return
        self._answer_begins(status)
        if self.route is not None and self.route.policy.changes_answers:
            fields = AnswerFields(heads.changed_answer(self, fields.headers))
        alias = self.match.alias
        is_enveloped = alias is not None and alias.envelope
        if is_enveloped and Envelope.fits(self.request.method, status, fields.headers):
            self._envelope = Envelope(self, fields.headers)
            self.progress()
            return
        lines = fields.passed
        for place in fields.links:
            lines[place] = heads.link_for_client(self, lines[place])
        is_wrapped_later = is_enveloped and self.request.method == b"HEAD"
        self._frame_answer(lines, None if is_wrapped_later else fields.length)
        if not self.request_complete and b"expect" in self.fields.seen and not self._continue_sent:
            self.keep_alive = False  # the body was not asked for, and whether it still comes nobody knows
        self._to_client += (STATUS_LINE[status], *lines, heads.client_head_end(self))

    def _answer_begins(self, status: int) -> None:
        assert self.backend is not None
        self.status = status
        self.upstream_seconds = time.perf_counter() - self.upstream_started
        if self.backend.standing.is_troubled:
            self.backend.standing.answered()

    def _frame_answer(self, lines: list[bytes], length: bytes | None) -> None:
        """Say how the body ends: by its length, in chunks, or with the connection (HTTP/1.0)."""
        bodiless = self.request.method == b"HEAD" or self.status in BODILESS
        if length is not None:
            if self.status != 204:
                lines += (b"content-length: ", length, b"\r\n")
        elif self.request.is_http10:
            self.keep_alive = False
        elif not bodiless:
            self._answer_chunked = True
            lines.append(b"transfer-encoding: chunked\r\n")

    def answer_body(self, piece: bytes) -> None:
        if self.response_complete:
            return
        if self._envelope is not None:
            if not self._envelope.add(piece):
                self.refuse(Refusal(errors.ANSWER_TOO_LARGE))
            return
        self.sent_bytes += len(piece)
        self._to_client.append(b"%x\r\n%b\r\n" % (len(piece), piece) if self._answer_chunked else piece)

    def flush_answer(self) -> None:
        """The backend's connection has read what there was."""
        if not self._to_client or self.response_complete:
            return
        self._write_answer()
        self.progress()
        if self.client.flow.write_paused and self.upstream is not None:
            self.upstream.hold_reading()

    def _write_answer(self) -> None:
        self.response_started = True
        self.client.transport.write(b"".join(self._to_client))
        self._to_client.clear()

    def answer_end(self) -> None:
        if self.response_complete:
            return
        if self._envelope is not None:
            self._to_client.append(self._envelope.answer())
        elif self._answer_chunked:
            self._to_client.append(b"0\r\n\r\n")
        self._write_answer()
        self._over()

    def client_ready(self) -> None:
        """The client has read what was written: go on."""
        if self.upstream is not None:
            self.progress()
            self.upstream.allow_reading()

    def switched(self, headers: list[Header], rest: bytes) -> None:
        """101: from here on both sides speak another protocol, and the gateway only passes bytes."""
        if not may_switch(self, headers) or self.upstream is None or self.response_complete:
            self.upstream_invalid()
            return
        self._answer_begins(101)
        self.response_started = self.response_complete = True
        self.gateway.open.discard(self)
        Relay(self, headers, rest)

    # What goes wrong.

    def upstream_lost(self) -> None:
        upstream, self.upstream = self.upstream, None
        if self.response_complete or upstream is None:
            return
        if self.response_started or self._envelope is not None:
            self.refuse(Refusal(errors.CUT))
        else:
            kind = errors.RESET if self.request_complete else errors.RESET_IN_BODY
            attempts.lost(self, upstream, kind)

    def upstream_invalid(self) -> None:
        if self.response_started or self.response_complete:
            self.refuse(Refusal(errors.CUT))
        else:
            self._blame(errors.INVALID_ANSWER)

    def _blame(self, kind: Kind) -> None:
        attempts.failed(self, kind)
        self.refuse(Refusal(kind))

    def expire(self) -> None:
        """The deadline has passed."""
        if self.response_complete:
            self.client.cut()  # answered, but the rest of the request never came
            self.gateway.open.discard(self)
        elif self.response_started:
            by_client = self.client.flow.write_paused
            self.refuse(Refusal(errors.CLIENT_STALLED if by_client else errors.STALLED))
        elif self._envelope is not None:
            self.refuse(Refusal(errors.STALLED))
        elif self.request_complete:
            self._blame(errors.ANSWER_TIMEOUT)
        elif self.awaits_continue:
            # Some services never say `100 Continue`. Who waits for it anyway must not get them ejected.
            self.keep_alive = False
            self.refuse(Refusal(errors.ANSWER_TIMEOUT))
        else:
            self.keep_alive = False
            if self.upstream is not None and self.upstream.write_paused:
                self._blame(errors.SEND_TIMEOUT)
            else:
                self.refuse(Refusal(errors.REQUEST_TIMEOUT))

    def close(self) -> None:
        """The gateway stops, and the time to finish is over."""
        self.keep_alive = False
        self.refuse(Refusal(errors.STOPPED))

    def refuse(self, refusal: Refusal) -> None:
        """Tell the client in place of an answer; once one has begun, only cutting it tells the truth."""
        if self.response_complete:
            return
        self.failure = refusal.kind
        self._drop_upstream()
        if self.response_started:
            self.keep_alive = False
            self._over()
            self.client.cut()
        else:
            self._envelope = None
            self._to_client.clear()  # what was about to be sent, and now never will
            self.answer(refusal.kind.status, heads.own_answer(self, refusal))

    def answer(self, status: int, rest: list[bytes]) -> None:
        """Answer without a backend: the lines behind the status line, and the body."""
        self.status = status
        self.response_started = True
        self.client.transport.write(b"".join((STATUS_LINE[status], *rest)))
        self._over()

    @property
    def rest_is_small(self) -> bool:
        """Whether what is still to come of the request is worth reading only to keep the connection."""
        if self.request_complete or self._is_chunked:
            return self.request_complete
        return int(self.fields.seen.get(b"content-length", 0)) - self.received_bytes <= DISCARDED_BYTES_MAX

    def _drop_upstream(self) -> None:
        if self.upstream is not None:
            self.upstream.drop()
            self.upstream = None

    def _over(self) -> None:
        self.response_complete = True
        self._held.clear()
        if self.backend is not None and self.backend.standing.trial is self:
            self.backend.standing.let_go(self)
        self.gateway.open.discard(self)
        dismiss(self)
        self.client.exchange_over(self)
        if self.keep_alive and not self.request_complete and not self.client.transport.is_closing():
            # The rest of the body is read and thrown away, so that the connection can be kept.
            self.gateway.open.add(self)
            self.deadline = time.monotonic() + DISCARD_SECONDS
