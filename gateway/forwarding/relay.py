"""After a 101: bytes both ways, with back-pressure, until one side closes."""

import asyncio
import random
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from gateway import errors
from gateway.forwarding.admission import dismiss
from gateway.http.headers import DROP, Header, answer_rule
from gateway.http.websocket import GOING_AWAY, POLICY_VIOLATION, Frames, close_frame
from shared.caller import Caller

if TYPE_CHECKING:
    from gateway.forwarding.exchange import Exchange

# Quiet is normal for a terminal or a subscription; this only finds peers that are gone without a word.
IDLE_SECONDS = 3600.0
LEAVE_SECONDS = 5.0  # for both sides of a WebSocket to say goodbye
LEAVING_PER_SECOND = 1000  # all of them come back somewhere else


def may_switch(exchange: "Exchange", headers: list[Header]) -> bool:
    """Whether the client has asked for what the backend wants to speak (RFC 9110, 7.8)."""
    asked = exchange.fields.seen.get(b"upgrade", b"").lower().split(b",")
    told = b",".join(value for name, value in headers if name == b"upgrade").lower().split(b",")
    return exchange.request.upgrade and {each.strip() for each in told} <= {each.strip() for each in asked}


def _passed(exchange: "Exchange", headers: list[Header]) -> Iterator[bytes]:
    """The fields that the client is sent, as of every other answer; only here `Upgrade` is for it, too."""
    assert exchange.route is not None
    for name, value in exchange.route.policy.headers.response.of_answer(headers):
        if name == b"upgrade" or answer_rule(name) != DROP:
            yield b"%b: %b\r\n" % (name, value)


class Relay:
    """Two transports, each written what the other reads. Of WebSocket frames it only knows where they end."""

    def __init__(self, exchange: "Exchange", headers: list[Header], rest: bytes) -> None:
        assert exchange.upstream is not None
        assert exchange.backend is not None
        exchange.backend.relays += 1
        self._exchange = exchange
        self._open, self._is_leaving = True, False
        upstream = exchange.upstream.hand_over()
        is_websocket = exchange.fields.seen[b"upgrade"].lower() == b"websocket"
        kind = _WebSocketEnd if is_websocket else _End
        self._client_end = kind(self, exchange.client.transport)
        self._upstream_end = kind(self, upstream)
        self._client_end.other, self._upstream_end.other = self._upstream_end, self._client_end
        self.progress()
        exchange.gateway.open.add(self)
        lines = [STATUS_LINE[101], b"connection: upgrade\r\n", *_passed(exchange, headers)]
        lines += (exchange.limit_headers, exchange.id_line, b"\r\n", rest)
        self._upstream_end.passed(rest)
        early = exchange.client.become_relay(self._client_end)
        self._client_end.read_bytes, self._upstream_end.read_bytes = len(early), len(rest)
        self._client_end.transport.set_protocol(self._client_end)
        self._upstream_end.transport.set_protocol(self._upstream_end)
        self._client_end.transport.write(b"".join(lines))
        if early:
            self._client_end.passed(early)
            self._upstream_end.transport.write(early)
        if exchange.gateway.has_lost_access(self.caller):  # while the backend took its time to switch
            self.close(POLICY_VIOLATION)

    @property
    def caller(self) -> Caller | None:
        return self._exchange.caller

    def progress(self) -> None:
        if not self._is_leaving:
            self.deadline = time.monotonic() + IDLE_SECONDS

    def expire(self) -> None:
        self.close()

    def drain(self) -> None:
        """The gateway stops. Clients are told one after the other, since all of them come back elsewhere."""
        gateway = self._exchange.gateway
        spread = min(len(gateway.open) / LEAVING_PER_SECOND, gateway.settings.drain_seconds / 2)
        delay = random.uniform(0, spread)  # noqa: S311 - spreads load
        asyncio.get_running_loop().call_later(delay, self._leave)

    def _leave(self) -> None:
        """Tell a WebSocket's client; what it answers passes, and so the backend is told, too."""
        if self._open and self._upstream_end.leave(GOING_AWAY):
            self._is_leaving = True
            self.deadline = time.monotonic() + LEAVE_SECONDS

    def close(self, code: int = GOING_AWAY) -> None:
        for end in (self._upstream_end, self._client_end):
            end.leave(code)
        self._client_end.transport.close()
        self._upstream_end.transport.close()

    def is_backend(self, end: "_End") -> bool:
        return end is self._upstream_end

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
        """What uvicorn asks of every connection when it stops."""
        self._relay.drain()

    def passed(self, data: bytes) -> None:
        """What was passed on before this end took over."""

    def leave(self, code: int) -> bool:  # noqa: ARG002 - for protocols that have such a thing
        """Say goodbye to the other side in the words of the protocol; whether it has any."""
        return False


class _WebSocketEnd(_End):
    """One side of a WebSocket."""

    def __init__(self, relay: Relay, transport: asyncio.Transport) -> None:
        super().__init__(relay, transport)
        self._frames = Frames()
        self._code = 0  # that the other side is to be told as soon as the current frame has passed
        self.passed = self._frames.read  # type: ignore[method-assign]

    def data_received(self, data: bytes) -> None:
        if not self._code:
            self._frames.read(data)
            super().data_received(data)
        elif not (self._frames.has_closed and self._frames.is_between):
            super().data_received(self._frames.rest_of_frame(data))
            self._say()

    def leave(self, code: int) -> bool:
        self._code = self._code or code
        self._say()
        return True

    def _say(self) -> None:
        """Nothing may follow a close frame, and nothing may stand in the middle of another one."""
        other = self.other.transport
        if self._frames.is_between and not self._frames.has_closed and not other.is_closing():
            frame = close_frame(self._code, masked=self._relay.is_backend(self.other))
            self._frames.read(frame)
            other.write(frame)
