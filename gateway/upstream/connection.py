"""One connection to a backend, read as HTTP by httptools."""

import asyncio
import time
from typing import TYPE_CHECKING, cast

import httptools
import structlog

from gateway.http.coalescing import Outlet
from gateway.http.headers import AnswerFields

if TYPE_CHECKING:
    from gateway.forwarding.exchange import Exchange
    from gateway.upstream.pool import Backend

BODILESS = frozenset((204, 304))
SWITCHING = 101
HEAD_BYTES_MAX = 256 * 1024  # and as much again for trailers

log = structlog.get_logger(__name__)

Header = tuple[bytes, bytes]


class UpstreamConnection(asyncio.Protocol):
    """One connection to a backend; it serves one exchange at a time."""

    transport: asyncio.Transport

    def __init__(self, backend: "Backend") -> None:
        self._backend = backend
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[Header] = []
        self._pieces: list[bytes] = []  # of a body, as far as they came in one read
        self._keep = self._interim = self._until_close = False
        self._answering = self._complete = self._read_paused = False
        self.exchange: Exchange | None = None
        self.heard = False  # whether anything of the answer to the current request has come
        self.used = False  # whether it has served a request before the current one
        self.write_paused = False
        self.opened = self.idle_since = 0.0
        self._silent_bytes = 0  # read since the last of which something came: a head, or a piece of a body

    def begin(self, exchange: "Exchange") -> None:
        self.exchange = exchange
        self.heard = self._answering = self._keep = self._interim = self._until_close = self._complete = False

    def close(self) -> None:
        """Cut the connection; the exchange that waits for its answer is told by connection_lost."""
        self.transport.abort()

    def drop(self) -> None:
        """Cut the connection; its exchange is over already."""
        self.exchange = None
        self.transport.abort()

    def hand_over(self) -> asyncio.Transport:
        """Leave the pool: from here on the connection belongs to a relay."""
        self.exchange = None
        self._backend.forget(self)
        return self.transport

    def hold_reading(self) -> None:
        if not self._read_paused and not self.transport.is_closing():
            self._read_paused = True
            self.transport.pause_reading()

    def allow_reading(self) -> None:
        if self._read_paused and not self.transport.is_closing():
            self._read_paused = False
            self.transport.resume_reading()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", Outlet(transport))
        self.opened = time.monotonic()
        self._backend.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._backend.forget(self)
        exchange, self.exchange = self.exchange, None
        if exchange is None:
            return
        if self._until_close and exc is None:
            exchange.answer_end()
        else:
            exchange.upstream_lost()

    def pause_writing(self) -> None:
        self.write_paused = True
        if self.exchange is not None:
            self.exchange.client.adjust_reading()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self.exchange is not None:
            self.exchange.progress()
            self.exchange.client.adjust_reading()

    def data_received(self, data: bytes) -> None:
        if self.exchange is None:
            # Nobody asked: what follows could be taken for the answer to the next request.
            self.close()
            return
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
            if not self._complete and self.exchange is not None:
                self.exchange.upstream_invalid()
        if self._pieces:
            self._pass_pieces()
        if self._complete:
            # Only now, with nothing left of what was read, may the connection be given to the next one.
            self._finish()
        elif self.exchange is not None:
            self.exchange.flush_answer()
            if self._silent_bytes > HEAD_BYTES_MAX:
                self.exchange.upstream_invalid()

    def _pass_pieces(self) -> None:
        """Chunks of one read go on as one, however small they are."""
        body = b"".join(self._pieces)
        self._pieces.clear()
        if self.exchange is not None:
            self.exchange.answer_body(body)

    def _switched(self, rest: bytes) -> None:
        if self.exchange is not None:
            self.exchange.switched(self._headers, rest)

    def _finish(self) -> None:
        exchange, self.exchange = self.exchange, None
        self._complete = False
        if exchange is None:
            return
        self.used = True
        exchange.upstream = None
        is_free = exchange.request_complete and not self.write_paused  # it has been sent all there was
        if self._keep and is_free and not self.transport.is_closing():
            self.allow_reading()
            self._backend.release(self)
        else:
            self.close()
        exchange.answer_end()

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self._complete:
            self._keep = False
        self.heard = True
        self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._answering:  # later ones are trailers
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        exchange, status = self.exchange, self._parser.get_status_code()
        self._silent_bytes = 0
        if exchange is None or self._complete or status == SWITCHING:
            return
        fields = AnswerFields(self._headers)
        if status < 100 or (fields.framing and not self._is_clear(fields.framing)):
            exchange.upstream_invalid()
            return
        if status < 200:
            self._interim = True
            exchange.interim(status, fields)
            return
        self._answering = True
        is_head = exchange.request.method == b"HEAD"
        self._until_close = not (is_head or fields.framing or status in BODILESS)
        exchange.answer_head(status, fields)
        if is_head:
            # The parser cannot know that no body follows, whatever the headers say: it is replaced.
            self._keep = self._parser.should_keep_alive()
            self._parser = httptools.HttpResponseParser(self)
            self._complete = True

    def _is_clear(self, framing: list[Header]) -> bool:
        """Whether the body is as the parser reads it: it takes every coding for `chunked`, or for none."""
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
            self._keep = self._parser.should_keep_alive()  # only now: trailers, too, can say `close`
