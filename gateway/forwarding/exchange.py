"""One request and its response, passed on between the client and a target as they arrive."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from gateway import errors
from gateway.errors import Kind, Refusal
from gateway.forwarding import attempts, heads
from gateway.forwarding.admission import Wait, collects_body, decisions_for, dismiss
from gateway.forwarding.enveloped_answer import EnvelopedAnswer, may_wrap
from gateway.forwarding.relay import Relay, may_switch
from gateway.forwarding.transfer import ClientSide, Transfer
from gateway.http.headers import AnswerFields, Header, Request, is_event_stream
from gateway.http.whole_answer import WholeAnswer
from gateway.routing.table import Match
from gateway.upstream.connection import UpstreamConnection

HELD_BYTES_MAX = 64 * 1024
DISCARD_SECONDS = 5.0
REVOKED_SECONDS = 5.0
NEVER = float("inf")

log = structlog.get_logger(__name__)


class Exchange(Transfer):
    """A request that is forwarded to a target, and the response that is passed back.

    uvicorn stores it as the `cycle` of the connection, and reads its `response_complete` and `keep_alive`.
    """

    __slots__ = """
        _answer_chunked _begun _continue_sent _envelope _headers _held _sent _to_client deadline is_collecting
    """.split()

    def __init__(self, client: ClientSide, request: Request, match: Match, *, keep_alive: bool) -> None:
        super().__init__(client, request, match, keep_alive=keep_alive)
        self.deadline = NEVER
        self.is_collecting = False  # receiving a small body before taking a connection to a target
        self._held: list[bytes] = []
        self._sent: list[bytes] = []  # kept for a retry, while it is small
        self._to_client: list[bytes] = []  # sent when the read ends; until then, a refusal can replace it
        self._envelope: EnvelopedAnswer | None = None
        self._headers: AnswerFields | None = None
        self._begun = self._continue_sent = self._answer_chunked = False

    # The request, called by the client's connection.

    def start(self) -> None:
        """Admit or refuse the request; called once all earlier responses on this connection are complete."""
        self._begun = True
        self.read_headers()
        self._unless_refused(self._admit)

    def _unless_refused(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Refusal as refusal:
            self.refuse(refusal)

    def _admit(self, first: int = 0) -> None:
        """Run the admission steps from `first` on, and forward the request after the last."""
        for following, decide in enumerate(decisions_for(self)[first:], first + 1):
            outcome = decide(self)
            if outcome is None:
                continue
            if isinstance(outcome, bytes):
                self.answer(204, heads.preflight_answer(self, outcome))
            else:
                self._wait_for(self._admit_after(outcome, following))
            return
        if not self.request_complete and collects_body(self):
            self.is_collecting = True  # forwarded as soon as it is complete
        else:
            self._forward()

    async def _admit_after(self, wait: Wait, following: int) -> None:
        await wait
        if not self.response_complete:
            self._admit(following)

    def _forward(self) -> None:
        connection = attempts.begin(self)
        if connection is None:
            self._wait_for(self._send_on(attempts.connect(self, fresh=False)))
        else:
            self.send(connection)

    async def _send_on(self, connecting: Coroutine[Any, Any, UpstreamConnection | None]) -> None:
        connection = await connecting
        if connection is not None:
            self.send(connection)

    def _wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        """Continue in a task; most requests never have to wait."""
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
            # Earlier pipelined requests are still in progress; reading is paused meanwhile.
            attempts.gather(self._held, piece)
        elif self.received_bytes > self.policy.body_max:
            self.refuse(errors.too_large(self.policy.body_max))
        elif self.upstream is None:
            attempts.gather(self._held, piece)
            self.client.adjust_reading()
        else:
            self.upstream.transport.write(self._framed(piece))
            self.progress()

    def request_end(self) -> None:
        self.request_complete = True
        if self.response_complete:
            self.gateway.open.discard(self)
            self.client.exchange_over(self)
        elif self.upstream is not None:
            if self.is_chunked:
                self.upstream.transport.write(b"0\r\n\r\n")
            self.progress()
        elif self.is_collecting:
            self.is_collecting = False
            self._unless_refused(self._forward)

    @property
    def is_full(self) -> bool:
        """Whether to stop reading the body for now."""
        if self.upstream is not None:
            return self.upstream.write_paused
        return bool(self._held) and self.received_bytes > HELD_BYTES_MAX

    @property
    def may_send_body(self) -> bool:
        """Whether only the client delays the rest of the body."""
        return not (self.client.flow.read_paused or self.awaits_continue)

    @property
    def awaits_continue(self) -> bool:
        return b"expect" in self.fields.seen and not self.received_bytes and not self._continue_sent

    def client_gone(self) -> None:
        if self.response_complete:
            return
        if not is_event_stream(self._headers):  # a stream of events only ends when the client leaves
            self.failure = errors.CLIENT_GONE
            self.status = self.status or errors.CLIENT_GONE.status
        self._drop_upstream()
        self._over()

    # Sending to the target.

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
        if self.known is None and self.request_complete and self.is_chunked:
            connection.transport.write(b"0\r\n\r\n")

    def _keep(self, piece: bytes) -> None:
        if self.received_bytes <= self.policy.retry.buffer:
            attempts.gather(self._sent, piece)
        else:
            self._sent.clear()

    def _framed(self, piece: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(piece), piece) if self.is_chunked else piece

    def progress(self) -> None:
        """Restart the timeout of the current phase, because bytes have moved."""
        timeouts = self.policy.timeouts
        waits_for_answer = self.request_complete and not self.response_started
        self.deadline = time.monotonic() + (timeouts.first_byte if waits_for_answer else timeouts.idle)

    # The response, called by the target's connection.

    def interim(self, status: int, fields: AnswerFields) -> None:
        """Pass on a 1xx response at once; the final one is still to come."""
        if self.response_complete or self.request.is_http10:
            return
        self._continue_sent = self._continue_sent or status == 100
        self.client.transport.write(b"".join((STATUS_LINE[status], *fields.passed, b"\r\n")))

    def answer_whole(self, answer: WholeAnswer, body: bytes) -> None:
        self.answer_begins(answer.status)
        self.response_started, self.sent_bytes = True, answer.length
        head_end = heads.client_head_end(self)
        self.client.transport.write(b"".join((STATUS_LINE[answer.status], answer.lines, head_end, body)))
        self._over()

    def answer_head(self, status: int, fields: AnswerFields) -> None:
        if status not in STATUS_LINE:
            self.upstream_invalid()
            return
        self.answer_begins(status)
        self._headers = fields
        if self.policy.changes_answers:
            fields = AnswerFields(heads.changed_answer(self, fields.headers))
        alias = self.match.alias
        is_enveloped = alias is not None and alias.envelope
        if is_enveloped and may_wrap(self.request.method, status, fields.headers):
            self._envelope = EnvelopedAnswer(self, fields.headers)
            self.progress()
            return
        lines = fields.passed
        for place in fields.links:
            lines[place] = heads.link_for_client(self, lines[place])
        is_wrapped_later = is_enveloped and self.request.method == b"HEAD"
        self._answer_chunked = heads.frame_answer(self, lines, None if is_wrapped_later else fields.length)
        if not self.request_complete and b"expect" in self.fields.seen and not self._continue_sent:
            self.keep_alive = False  # it is unknown whether the client will still send the body
        self._to_client += (STATUS_LINE[status], *lines, heads.client_head_end(self))

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
        """Write to the client what one read from the target has brought."""
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

    def upstream_full(self) -> None:
        self.client.adjust_reading()

    def upstream_ready(self) -> None:
        self.progress()
        self.client.adjust_reading()

    def client_ready(self) -> None:
        """Resume reading from the target: the client has taken what was written."""
        if self.upstream is not None:
            self.progress()
            self.upstream.allow_reading()

    def switched(self, headers: list[Header], rest: bytes) -> None:
        """Handle a 101: both sides switch to another protocol, and the gateway only relays bytes."""
        if not may_switch(self, headers) or self.upstream is None or self.response_complete:
            self.upstream_invalid()
            return
        self.answer_begins(101)
        self.response_started = self.response_complete = True
        self.gateway.open.discard(self)
        Relay(self, headers, rest)

    # Failures.

    def upstream_lost(self) -> None:
        upstream, self.upstream = self.upstream, None
        if self.response_complete or upstream is None:
            return
        if self.response_started or self._envelope is not None:
            self.refuse(Refusal(errors.CUT))
        else:
            self._repeat(upstream, errors.RESET if self.request_complete else errors.RESET_IN_BODY)

    def _repeat(self, upstream: UpstreamConnection, kind: Kind) -> None:
        refusal = Refusal(kind)
        if attempts.may_repeat(self, upstream, kind):
            self._held = list(self._sent)
            self.deadline = NEVER
            self._wait_for(self._send_on(attempts.repeat(self, refusal)))
        else:
            self.refuse(refusal)

    def upstream_invalid(self) -> None:
        if self.response_started or self.response_complete:
            self.refuse(Refusal(errors.CUT))
        else:
            self._blame(errors.INVALID_ANSWER)

    def _blame(self, kind: Kind) -> None:
        attempts.failed(self, kind)
        self.refuse(Refusal(kind))

    def expire(self) -> None:
        """Fail the phase whose deadline has passed."""
        if self.response_complete:
            self.client.cut()  # the response is complete, but the rest of the request never arrived
            self.gateway.open.discard(self)
        elif self.response_started:
            by_client = self.client.flow.write_paused
            self.refuse(Refusal(errors.CLIENT_STALLED if by_client else errors.STALLED))
        elif self._envelope is not None:
            self.refuse(Refusal(errors.STALLED))
        elif self.request_complete:
            self._blame(errors.ANSWER_TIMEOUT)
        elif self.awaits_continue:
            # Some services never send `100 Continue`. A client that insists on it must not get them ejected.
            self.keep_alive = False
            self.refuse(Refusal(errors.ANSWER_TIMEOUT))
        else:
            self.keep_alive = False
            if self.upstream is not None and self.upstream.write_paused:
                self._blame(errors.SEND_TIMEOUT)
            else:
                self.refuse(Refusal(errors.REQUEST_TIMEOUT))

    def recheck_access(self) -> None:
        """If the token or key was revoked, refuse the request after a few seconds.

        This may be the request that revoked it, and its caller is waiting for the response.
        """
        if self.gateway.has_lost_access(self.caller):
            refusal = Refusal(errors.REVOKED)
            asyncio.get_running_loop().call_later(REVOKED_SECONDS, self.refuse, refusal)

    def close(self) -> None:
        """Refuse the request: the gateway is shutting down and the drain time is over."""
        self.keep_alive = False
        self.refuse(Refusal(errors.STOPPED))

    def refuse(self, refusal: Refusal) -> None:
        """Respond with the refusal; a response that has begun is cut off instead."""
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
            self._to_client.clear()  # not sent yet
            self.answer(refusal.kind.status, heads.own_answer(self, refusal))

    def answer(self, status: int, rest: list[bytes]) -> None:
        """Send the gateway's own response; `rest` is the lines after the status line, and the body."""
        self.status = status
        self.response_started = True
        self.client.transport.write(b"".join((STATUS_LINE[status], *rest)))
        self._over()

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
            # The rest of the body is read and discarded so that the connection can be kept.
            self.gateway.open.add(self)
            self.deadline = time.monotonic() + DISCARD_SECONDS
