"""Relays bytes in both directions after a 101, with back-pressure, until one side closes."""

import asyncio
import random
import time
from collections.abc import Iterator

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from gateway import errors
from gateway.forwarding.admission import dismiss
from gateway.forwarding.transfer import Transfer
from gateway.http.headers import DROP, Header, answer_rule
from gateway.http.websocket import GOING_AWAY, POLICY_VIOLATION, Frames, close_frame

# Silence is normal for a terminal or a subscription; this only detects peers that vanished.
IDLE_SECONDS = 3600.0
LEAVE_SECONDS = 5.0  # for both sides of a WebSocket to send their close frames
LEAVING_PER_SECOND = 1000  # clients to close per second at shutdown, because all of them reconnect


def may_switch(transfer: Transfer, headers: list[Header]) -> bool:
    """Whether the client asked for the protocol that the target has chosen (RFC 9110, 7.8)."""
    asked = transfer.fields.seen.get(b"upgrade", b"")
    chosen = b",".join(value for name, value in headers if name == b"upgrade")
    return transfer.request.upgrade and _protocols(chosen) <= _protocols(asked)


def _protocols(upgrade: bytes) -> set[bytes]:
    return {each.strip() for each in upgrade.lower().split(b",")}


def _passed(transfer: Transfer, headers: list[Header]) -> Iterator[bytes]:
    """Yield the headers for the client, as in every other response, plus `Upgrade`."""
    for name, value in transfer.policy.headers.response.of_answer(headers):
        if name == b"upgrade" or answer_rule(name) != DROP:
            yield b"%b: %b\r\n" % (name, value)


class Relay:
    """Relays bytes between two transports; for WebSockets it also tracks where frames end."""

    def __init__(self, transfer: Transfer, headers: list[Header], rest: bytes) -> None:
        assert transfer.upstream is not None
        assert transfer.backend is not None
        transfer.backend.relays += 1
        self._transfer = transfer
        self._open, self._is_leaving = True, False
        upstream = transfer.upstream.hand_over()
        is_websocket = transfer.fields.seen[b"upgrade"].lower() == b"websocket"
        kind = _WebSocketEnd if is_websocket else _End
        self._client_end = kind(self, transfer.client.transport)
        self._upstream_end = kind(self, upstream)
        self._client_end.other, self._upstream_end.other = self._upstream_end, self._client_end
        self.progress()
        transfer.gateway.open.add(self)
        lines = [STATUS_LINE[101], b"connection: upgrade\r\n", *_passed(transfer, headers)]
        lines += (transfer.limit_headers, transfer.id_line, b"\r\n", rest)
        self._upstream_end.passed(rest)
        early = transfer.client.become_relay(self._client_end)
        self._client_end.read_bytes, self._upstream_end.read_bytes = len(early), len(rest)
        self._client_end.transport.set_protocol(self._client_end)
        self._upstream_end.transport.set_protocol(self._upstream_end)
        self._client_end.transport.write(b"".join(lines))
        if early:
            self._client_end.passed(early)
            self._upstream_end.transport.write(early)
        self.recheck_access()  # access may have been lost while the target was switching

    def recheck_access(self) -> None:
        if self._transfer.gateway.has_lost_access(self._transfer.caller):
            self.close(POLICY_VIOLATION)

    def progress(self) -> None:
        if not self._is_leaving:
            self.deadline = time.monotonic() + IDLE_SECONDS

    def expire(self) -> None:
        self.close()

    def drain(self) -> None:
        """Close clients one after the other at shutdown, because all of them reconnect."""
        gateway = self._transfer.gateway
        spread = min(len(gateway.open) / LEAVING_PER_SECOND, gateway.settings.drain_seconds / 2)
        delay = random.uniform(0, spread)  # noqa: S311 - spreads load
        asyncio.get_running_loop().call_later(delay, self._leave)

    def _leave(self) -> None:
        """Send 1001 to a WebSocket's client; its reply is relayed, so the service receives 1001 as well."""
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
        self._transfer.failure = errors.CLIENT_STALLED

    def ended(self, end: "_End") -> None:
        """Close the other side, once everything is sent, because this side has closed."""
        self._transfer.gateway.crowd.leave(end.transport)
        if not self._open:
            return
        self._open = False
        self.close()
        transfer = self._transfer
        transfer.gateway.open.discard(self)
        if transfer.backend is not None:
            transfer.backend.relays -= 1
        transfer.client.connections.discard(self._client_end)
        transfer.received_bytes, transfer.sent_bytes = (
            self._client_end.read_bytes,
            self._upstream_end.read_bytes,
        )
        dismiss(transfer)


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
        """Called by uvicorn for every connection at shutdown."""
        self._relay.drain()

    def passed(self, data: bytes) -> None:
        """Account for bytes that were relayed before this side took over."""

    def leave(self, code: int) -> bool:  # noqa: ARG002 - used by the subclass
        """Send the other side a close message; return whether the protocol has one."""
        return False


class _WebSocketEnd(_End):
    """One side of a WebSocket."""

    def __init__(self, relay: Relay, transport: asyncio.Transport) -> None:
        super().__init__(relay, transport)
        self._frames = Frames()
        self._code = 0  # to send to the other side after the current frame

    def data_received(self, data: bytes) -> None:
        if not self._code:
            self._frames.read(data)
            super().data_received(data)
        elif not (self._frames.has_closed and self._frames.is_between):
            super().data_received(self._frames.rest_of_frame(data))
            self._say()

    def passed(self, data: bytes) -> None:
        self._frames.read(data)

    def leave(self, code: int) -> bool:
        self._code = self._code or code
        self._say()
        return True

    def _say(self) -> None:
        """Send the close frame unless one has passed; it must not interrupt another frame."""
        other = self.other.transport
        if self._frames.is_between and not self._frames.has_closed and not other.is_closing():
            frame = close_frame(self._code, masked=self._relay.is_backend(self.other))
            self._frames.read(frame)
            other.write(frame)
