"""Limits on slow clients: the minimum rates for sending a request body and for reading a response.

A timer checks requests in progress, so fast ones cost nothing. Only time in which the client could have
continued is counted: a body that waits for the service is not slow.
"""

import asyncio
import socket
import struct
import time
from collections.abc import Iterable
from typing import Protocol

from gateway import errors
from gateway.clients.connection_limits import Seat
from gateway.errors import Kind, Refusal
from gateway.routing.table import Policy
from gateway.settings import Settings

# If more time passes between two checks, only this much counts: the gateway itself may have been delayed.
STEP_SECONDS_MAX = 1.0
LOOKS_PER_WAIT = 10
LOOK_SECONDS_MAX = 1.0

_TCP_INFO = getattr(socket, "TCP_INFO", None)
_ACKNOWLEDGED = struct.Struct("=120xQ")  # tcpi_bytes_acked


class Arriving(Protocol):
    """A request whose body is still arriving."""

    received_bytes: int
    request_complete: bool
    response_complete: bool
    keep_alive: bool
    policy: Policy

    @property
    def may_send_body(self) -> bool:
        """Whether only the client delays the rest of the body."""

    def refuse(self, refusal: Refusal) -> None: ...

    def recheck_access(self) -> None: ...

    def close(self) -> None: ...


class Pace:
    """Watches bodies that are still arriving, and responses that clients have not read yet."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._arrivals: dict[Arriving, Arrival] = {}
        self._looked_at_answers = 0.0
        self._look_seconds = min(LOOK_SECONDS_MAX, settings.write_idle_seconds / LOOKS_PER_WAIT)

    @property
    def arriving(self) -> list[Arriving]:
        return list(self._arrivals)

    def arrives(self, request: Arriving) -> None:
        """Watch a request whose body did not arrive in one read."""
        if request not in self._arrivals:
            self._arrivals[request] = Arrival(request, self._settings)

    def look(self, now: float, seats: Iterable[tuple[asyncio.Transport, Seat]]) -> None:
        for request, arrival in tuple(self._arrivals.items()):
            if request.request_complete or request.response_complete:
                del self._arrivals[request]
                continue
            kind = arrival.too_slow(now)
            if kind is not None:
                request.keep_alive = False
                request.refuse(Refusal(kind))
        if now - self._looked_at_answers >= self._look_seconds:
            self._looked_at_answers = now
            self._look_at_answers(now, seats)

    def _look_at_answers(self, now: float, seats: Iterable[tuple[asyncio.Transport, Seat]]) -> None:
        settings = self._settings
        for transport, seat in tuple(seats):
            if not seat.waiting_bytes():
                seat.waits_since = 0.0
                continue
            if seat.waits_since and now - seat.waits_since < settings.write_idle_seconds:
                continue
            taken = _acknowledged_bytes(transport)
            wanted = (now - seat.waits_since) * settings.bytes_per_second_min
            if seat.waits_since and taken is not None and taken - seat.taken_bytes < wanted:
                _discard_at_the_end(transport)
                seat.holder.stalled()
                transport.abort()
            seat.waits_since, seat.taken_bytes = now, taken or 0


class Arrival:
    """A body that is still arriving."""

    __slots__ = ("_behind", "_looked", "_received_bytes", "_request", "_settings", "_silent")

    def __init__(self, request: Arriving, settings: Settings) -> None:
        self._request = request
        self._settings = settings
        self._received_bytes = request.received_bytes
        self._looked = time.monotonic()
        self._silent = 0.0  # seconds
        self._behind = 0.0  # seconds behind the minimum rate, or ahead of it if negative

    def too_slow(self, now: float) -> Kind | None:
        """Return the limit that the client violates, if any."""
        request, settings = self._request, self._settings
        seconds = min(now - self._looked, STEP_SECONDS_MAX) * request.may_send_body
        self._looked = now
        came_bytes = request.received_bytes - self._received_bytes
        self._received_bytes += came_bytes
        self._silent = 0.0 if came_bytes else self._silent + seconds
        # A client that was fast may pause, but not for hours.
        behind = self._behind + seconds - came_bytes / settings.bytes_per_second_min
        self._behind = max(behind, -settings.body_idle_seconds)
        idle = min(settings.body_idle_seconds, request.policy.timeouts.idle)
        if self._silent >= idle:
            return errors.REQUEST_TIMEOUT
        return errors.BODY_TOO_SLOW if self._behind >= settings.body_grace_seconds else None


def _acknowledged_bytes(transport: asyncio.Transport) -> int | None:
    """Return the number of bytes that the client has acknowledged; None if the system does not report it."""
    if _TCP_INFO is None:
        return None
    try:
        info = transport.get_extra_info("socket").getsockopt(
            socket.IPPROTO_TCP, _TCP_INFO, _ACKNOWLEDGED.size
        )
        taken: int = _ACKNOWLEDGED.unpack(info)[0]
    except (OSError, struct.error):
        return None
    return taken


def _discard_at_the_end(transport: asyncio.Transport) -> None:
    """Discard unsent data on close: the system would keep megabytes for a client that is gone."""
    linger = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
