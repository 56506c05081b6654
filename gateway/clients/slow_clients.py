"""Slow clients: how slowly a body may come, and how slowly an answer may be taken.

The gateway's clock looks at those that are under way, so that whoever is quick costs nothing. Clients are
only blamed for time in which they could have gone on: a body that waits for the service is not slow.
"""

import asyncio
import socket
import struct
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from gateway import errors
from gateway.clients.connection_limits import Seat
from gateway.errors import Kind, Refusal
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.forwarding.exchange import Exchange

# When the gateway itself was held up, nobody else is to blame for the time between two looks.
STEP_SECONDS_MAX = 1.0
LOOKS_PER_WAIT = 10
LOOK_SECONDS_MAX = 1.0

_TCP_INFO = getattr(socket, "TCP_INFO", None)
_ACKNOWLEDGED = struct.Struct("=120xQ")  # tcpi_bytes_acked


class Pace:
    """Watches over bodies that are on their way, and over answers that wait to be taken."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._arrivals: dict[Exchange, Arrival] = {}
        self._looked_at_answers = 0.0
        self._look_seconds = min(LOOK_SECONDS_MAX, settings.write_idle_seconds / LOOKS_PER_WAIT)

    @property
    def arriving(self) -> list["Exchange"]:
        return list(self._arrivals)

    def arrives(self, exchange: "Exchange") -> None:
        """One read has not brought the whole body."""
        if exchange not in self._arrivals:
            self._arrivals[exchange] = Arrival(exchange, self._settings)

    def look(self, now: float, seats: Iterable[tuple[asyncio.Transport, Seat]]) -> None:
        for exchange, arrival in tuple(self._arrivals.items()):
            if exchange.request_complete or exchange.response_complete:
                del self._arrivals[exchange]
                continue
            kind = arrival.too_slow(now)
            if kind is not None:
                exchange.keep_alive = False
                exchange.refuse(Refusal(kind))
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
    """A body on its way."""

    __slots__ = ("_behind", "_exchange", "_looked", "_received_bytes", "_settings", "_silent")

    def __init__(self, exchange: "Exchange", settings: Settings) -> None:
        self._exchange = exchange
        self._settings = settings
        self._received_bytes = exchange.received_bytes
        self._looked = time.monotonic()
        self._silent = 0.0  # seconds
        self._behind = 0.0  # seconds behind the lowest rate, or ahead of it when negative

    def too_slow(self, now: float) -> Kind | None:
        """In which way it is, if it is."""
        exchange, settings = self._exchange, self._settings
        assert exchange.route is not None
        is_their_turn = not (exchange.client.flow.read_paused or exchange.awaits_continue)
        seconds = min(now - self._looked, STEP_SECONDS_MAX) * is_their_turn
        self._looked = now
        came_bytes = exchange.received_bytes - self._received_bytes
        self._received_bytes += came_bytes
        self._silent = 0.0 if came_bytes else self._silent + seconds
        # Whoever was quick may rest, but not live on that for hours.
        behind = self._behind + seconds - came_bytes / settings.bytes_per_second_min
        self._behind = max(behind, -settings.body_idle_seconds)
        idle = min(settings.body_idle_seconds, exchange.route.policy.timeouts.idle)
        if self._silent >= idle:
            return errors.REQUEST_TIMEOUT
        return errors.BODY_TOO_SLOW if self._behind >= settings.body_grace_seconds else None


def _acknowledged_bytes(transport: asyncio.Transport) -> int | None:
    """How much of what was sent the client has taken; None where the system does not tell."""
    if _TCP_INFO is None:
        return None
    try:
        told = transport.get_extra_info("socket").getsockopt(
            socket.IPPROTO_TCP, _TCP_INFO, _ACKNOWLEDGED.size
        )
        taken: int = _ACKNOWLEDGED.unpack(told)[0]
    except (OSError, struct.error):
        return None
    return taken


def _discard_at_the_end(transport: asyncio.Transport) -> None:
    """Otherwise the system keeps megabytes for the client when the gateway has long forgotten it."""
    linger = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
