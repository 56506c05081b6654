"""One connection to a target, read as HTTP by httptools."""

import asyncio
import time
from typing import Protocol, cast

import httptools
import structlog

from gateway.http.coalescing import Outlet
from gateway.http.headers import AnswerFields, Header, Request
from gateway.http.whole_answer import WholeAnswer, whole_answer

BODILESS = frozenset((204, 304))
SWITCHING = 101
HEAD_BYTES_MAX = 256 * 1024  # trailers may take as much again

log = structlog.get_logger(__name__)


class AnswerReceiver(Protocol):
    """The sender of the request on a connection, which receives the response."""

    upstream: "UpstreamConnection | None"
    request: Request
    request_complete: bool
    id_line: bytes

    @property
    def takes_whole(self) -> bool:
        """Whether a whole response would be passed on with its headers as they are."""

    def answer_whole(self, answer: WholeAnswer, body: bytes) -> None:
        """Do what the head, the body and the end of a response do one after the other."""

    def interim(self, status: int, fields: AnswerFields) -> None: ...

    def answer_head(self, status: int, fields: AnswerFields) -> None: ...

    def answer_body(self, piece: bytes) -> None: ...

    def flush_answer(self) -> None:
        """Send on everything that one read has brought."""

    def answer_end(self) -> None: ...

    def switched(self, headers: list[Header], rest: bytes) -> None:
        """Handle a 101; `rest` is the first bytes of the new protocol."""

    def upstream_full(self) -> None:
        """Stop sending for now."""

    def upstream_ready(self) -> None:
        """Continue sending."""

    def upstream_lost(self) -> None:
        """The connection was closed before the end of the response."""

    def upstream_invalid(self) -> None:
        """The received bytes are not a valid response."""


class Pool(Protocol):
    """The pool that owns a connection."""

    open: set["UpstreamConnection"]

    def release(self, connection: "UpstreamConnection") -> None:
        """Take back a connection whose last response ended cleanly."""

    def forget(self, connection: "UpstreamConnection") -> None:
        """Stop tracking a connection that closed or was upgraded."""


class UpstreamConnection(asyncio.Protocol):
    """One connection to a target; it serves one request at a time."""

    transport: asyncio.Transport

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[Header] = []
        self._pieces: list[bytes] = []  # body chunks received in this read
        self._keep = self._interim = self._until_close = False
        self._answering = self._complete = self._read_paused = False
        self.receiver: AnswerReceiver | None = None
        self.heard = False  # whether any part of the current response has arrived
        self.used = False  # whether it has served a request before the current one
        self.write_paused = False
        self.opened = self.idle_since = 0.0
        self._silent_bytes = 0  # bytes read since the last header section or body chunk

    def begin(self, receiver: AnswerReceiver) -> None:
        self.receiver = receiver
        self.heard = self._answering = self._keep = self._interim = self._until_close = self._complete = False

    def close(self) -> None:
        """Cut the connection; connection_lost then informs the receiver."""
        self.transport.abort()

    def drop(self) -> None:
        """Cut the connection; its request has ended already."""
        self.receiver = None
        self.transport.abort()

    def hand_over(self) -> asyncio.Transport:
        """Leave the pool; return the transport, which a relay takes over."""
        self.receiver = None
        self._pool.forget(self)
        return self.transport

    def hold_reading(self) -> None:
        if not self._read_paused and not self.transport.is_closing():
            self._read_paused = True
            self.transport.pause_reading()

    def allow_reading(self) -> None:
        if self._read_paused and not self.transport.is_closing():
            self._read_paused = False
            self.transport.resume_reading()

    # Called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", Outlet(transport))
        self.opened = time.monotonic()
        self._pool.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.forget(self)
        receiver, self.receiver = self.receiver, None
        if receiver is None:
            return
        if self._until_close and exc is None:
            receiver.answer_end()
        else:
            receiver.upstream_lost()

    def pause_writing(self) -> None:
        self.write_paused = True
        if self.receiver is not None:
            self.receiver.upstream_full()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self.receiver is not None:
            self.receiver.upstream_ready()

    def data_received(self, data: bytes) -> None:
        if self.receiver is None:
            # Unsolicited data could be mistaken for the response to the next request.
            self.close()
            return
        # Before the first byte of a response, the parser holds nothing of it.
        if self.heard or not self._pass_whole(self.receiver, data):
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        self._silent_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._switched(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as error:
            log.exception("exchange_failed", exc_info=error.__context__ or error)
            self.close()
        except httptools.HttpParserError:
            self._keep = False
            if not self._complete and self.receiver is not None:
                self.receiver.upstream_invalid()
        if self._pieces:
            self._pass_pieces()
        if self._complete:
            # The connection may serve the next request only once the whole read has been processed.
            self._finish()
        elif self.receiver is not None:
            self.receiver.flush_answer()
            if self._silent_bytes > HEAD_BYTES_MAX:
                self.receiver.upstream_invalid()

    def _pass_whole(self, receiver: AnswerReceiver, data: bytes) -> bool:
        """Pass on a response that is whole, past the parser; in any doubt touch nothing."""
        is_held = self.write_paused or self._read_paused
        if is_held or not receiver.takes_whole or self.transport.is_closing():
            return False
        found = whole_answer(data, receiver.id_line)
        if found is None:
            return False
        answer, start = found
        self._silent_bytes = 0
        self.heard = self.used = True
        self.receiver = receiver.upstream = None
        self._pool.release(self)
        try:
            receiver.answer_whole(answer, data[start:])
        except Exception:  # a fault of ours ends this exchange, not one that has the connection by now
            log.exception("exchange_failed")
            receiver.upstream_invalid()
        return True

    def _pass_pieces(self) -> None:
        """Pass on the chunks of one read together, however small they are."""
        body = b"".join(self._pieces)
        self._pieces.clear()
        if self.receiver is not None:
            self.receiver.answer_body(body)

    def _switched(self, rest: bytes) -> None:
        if self.receiver is not None:
            self.receiver.switched(self._headers, rest)

    def _finish(self) -> None:
        receiver, self.receiver = self.receiver, None
        self._complete = False
        if receiver is None:
            return
        self.used = True
        receiver.upstream = None
        is_free = receiver.request_complete and not self.write_paused  # the whole request was sent
        if self._keep and is_free and not self.transport.is_closing():
            self.allow_reading()
            self._pool.release(self)
        else:
            self.close()
        receiver.answer_end()

    # Called by the parser.

    def on_message_begin(self) -> None:
        if self._complete:
            self._keep = False
        self.heard = True
        self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._answering:  # headers that arrive later are trailers
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        receiver, status = self.receiver, self._parser.get_status_code()
        self._silent_bytes = 0
        if receiver is None or self._complete or status == SWITCHING:
            return
        fields = AnswerFields(self._headers)
        if status < 100 or (fields.framing and not self._is_clear(fields.framing)):
            receiver.upstream_invalid()
            return
        if status < 200:
            self._interim = True
            receiver.interim(status, fields)
            return
        self._answering = True
        is_head = receiver.request.method == b"HEAD"
        self._until_close = not (is_head or fields.framing or status in BODILESS)
        receiver.answer_head(status, fields)
        if is_head:
            # The parser does not know that no body follows, whatever the headers say, so it is replaced.
            self._keep = self._parser.should_keep_alive()
            self._parser = httptools.HttpResponseParser(self)
            self._complete = True

    def _is_clear(self, framing: list[Header]) -> bool:
        """Whether the parser's framing is right: it treats every transfer coding as `chunked` or as none."""
        (name, value), *more = framing
        if name == b"content-length":
            return not more
        return not more and value.strip().lower() == b"chunked" and self._parser.get_http_version() == "1.1"

    def on_body(self, body: bytes) -> None:
        self._silent_bytes = 0
        if self._complete:
            self._keep = False
        else:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        elif not self._complete and not self._parser.should_upgrade():
            self._complete = True
            self._keep = self._parser.should_keep_alive()  # only now, since trailers can say `close` as well
