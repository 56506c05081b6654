"""After a 101: bytes both ways, with back-pressure, until one side closes."""

import asyncio
import time
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from gateway import errors
from gateway.admission import dismiss
from gateway.headers import Header
from shared.identity import Caller

if TYPE_CHECKING:
    from gateway.forward import Exchange

# Quiet is normal for a terminal or a subscription; this only finds peers that are gone without a word.
IDLE_SECONDS = 3600.0


def may_switch(exchange: "Exchange", headers: list[Header]) -> bool:
    """Whether the client has asked for what the backend wants to speak (RFC 9110, 7.8)."""
    asked = exchange.fields.seen.get(b"upgrade", b"").lower().split(b",")
    told = b",".join(value for name, value in headers if name == b"upgrade").lower().split(b",")
    return exchange.request.upgrade and {each.strip() for each in told} <= {each.strip() for each in asked}


class Relay:
    """Two transports, each written what the other reads. WebSocket frames are none of its business."""

    def __init__(self, exchange: "Exchange", headers: list[Header], rest: bytes) -> None:
        assert exchange.upstream is not None
        assert exchange.backend is not None
        exchange.backend.relays += 1
        self._exchange = exchange
        self._open = True
        upstream = exchange.upstream.hand_over()
        self._client_end = _End(self, exchange.client.transport)
        self._upstream_end = _End(self, upstream)
        self._client_end.other, self._upstream_end.other = self._upstream_end, self._client_end
        self.progress()
        exchange.gateway.open.add(self)
        lines = [STATUS_LINE[101], b"connection: upgrade\r\n"]
        for name, value in headers:
            if name not in (b"connection", b"x-request-id"):
                lines += (name, b": ", value, b"\r\n")
        lines += (b"x-request-id: ", exchange.request_id.encode(), b"\r\n\r\n", rest)
        early = exchange.client.become_relay(self._client_end)
        self._client_end.transport.set_protocol(self._client_end)
        self._upstream_end.transport.set_protocol(self._upstream_end)
        self._client_end.transport.write(b"".join(lines))
        if early:
            self._upstream_end.transport.write(early)
        if exchange.gateway.has_lost_access(self.caller):  # while the backend took its time to switch
            self.close()

    @property
    def caller(self) -> Caller | None:
        return self._exchange.caller

    def progress(self) -> None:
        self.deadline = time.monotonic() + IDLE_SECONDS

    def expire(self) -> None:
        self.close()

    def close(self) -> None:
        self._client_end.transport.close()
        self._upstream_end.transport.close()

    def stalled(self) -> None:
        self._exchange.failure = errors.CLIENT_STALLED

    def ended(self, end: "_End") -> None:
        """One side has closed, so the other is closed once it has been sent everything."""
        self._exchange.gateway.crowd.leave(end.transport)
        if not self._open:
            return
        self._open = False
        self.close()
        exchange = self._exchange
        exchange.gateway.open.discard(self)
        if exchange.backend is not None:
            exchange.backend.relays -= 1
        exchange.client.connections.discard(self._client_end)
        exchange.received_bytes, exchange.sent_bytes = (
            self._client_end.read_bytes,
            self._upstream_end.read_bytes,
        )
        dismiss(exchange)


class _End(asyncio.Protocol):
    """One side of a relay."""

    other: "_End"

    def __init__(self, relay: Relay, transport: asyncio.Transport) -> None:
        self._relay = relay
        self.transport = transport
        self.read_bytes = 0

    def data_received(self, data: bytes) -> None:
        self.read_bytes += len(data)
        self._relay.progress()
        if not self.other.transport.is_closing():
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        if not self.other.transport.is_closing():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._relay.ended(self)

    def stalled(self) -> None:
        self._relay.stalled()

    def shutdown(self) -> None:
        """What uvicorn asks of every connection when it stops; a relay may go on until the drain ends."""
