"""Limits on client connections, in total and from one address."""

import asyncio
import resource
from collections import Counter
from contextlib import suppress
from typing import Protocol

import structlog

from gateway import errors
from gateway.errors import Kind
from gateway.settings import Settings
from gateway.telemetry.metrics import CONNECTIONS
from shared.process.proxies import Proxies, limited_network

REFUSED_MAX = 100
SPARE_DESCRIPTORS = 100  # for everything except client and upstream connections

log = structlog.get_logger(__name__)


class Holder(Protocol):
    """The protocol that reads from a client's connection."""

    def stalled(self) -> None:
        """Prepare to be cut off, because the client reads almost nothing of its response."""


class Seat:
    """The slot of one connection."""

    __slots__ = ("holder", "is_refused", "network", "taken_bytes", "waiting_bytes", "waits_since")

    def __init__(self, transport: asyncio.Transport, holder: Holder, network: str | None) -> None:
        self.waiting_bytes = transport.get_write_buffer_size  # called often, for every connection
        self.holder = holder
        self.network = network  # None for a trusted proxy, which carries many clients
        self.is_refused = False
        self.waits_since = 0.0  # when bytes for the client were first seen waiting, or 0
        self.taken_bytes = 0  # acknowledged by the client when `waits_since` was set


class Crowd:
    """All client connections, of any protocol."""

    def __init__(self, settings: Settings, proxies: Proxies) -> None:
        self._max = min(settings.connections_max, _connections_possible())
        self._per_address_max = settings.connections_per_address_max
        self._proxies = proxies
        self._networks: Counter[str] = Counter()
        self.seats: dict[asyncio.Transport, Seat] = {}
        self._shaking: Counter[str | None] = Counter()  # TLS handshakes under way
        self.refused = 0  # refused connections that are not closed yet
        if self._max < settings.connections_max:
            log.info("connections_limited", connections_max=self._max, reason="open files (ulimit -n)")

    @property
    def is_stormed(self) -> bool:
        """Whether too many connections are already being refused."""
        return self.refused > REFUSED_MAX

    def enter(self, transport: asyncio.Transport, holder: Holder, peer: str) -> Kind | None:
        """Count a connection; return the reason if it has to be refused."""
        address = None if self._proxies.trusts(peer) else limited_network(peer)
        seat = self.seats[transport] = Seat(transport, holder, address)
        kind = errors.CROWDED if len(self.seats) > self._max else None
        if address is not None:
            self._networks[address] += 1
            if self._networks[address] > self._per_address_max:
                kind = errors.TOO_MANY_CONNECTIONS
        CONNECTIONS.set(len(self.seats))
        seat.is_refused = kind is not None
        self.refused += seat.is_refused
        return kind

    def begin_handshake(self, peer: str) -> bool:
        """Count a TLS handshake; False if there is no room for another connection."""
        address = None if self._proxies.trusts(peer) else limited_network(peer)
        has_room = len(self.seats) + self._shaking.total() < self._max
        if address is not None:
            from_there = self._networks[address] + self._shaking[address]
            has_room = has_room and from_there < self._per_address_max
        if has_room:
            self._shaking[address] += 1
        return has_room

    def end_handshake(self, peer: str) -> None:
        address = None if self._proxies.trusts(peer) else limited_network(peer)
        self._shaking[address] -= 1
        if self._shaking[address] <= 0:
            del self._shaking[address]

    @property
    def shaking(self) -> int:
        return self._shaking.total()

    def leave(self, transport: asyncio.Transport) -> None:
        seat = self.seats.pop(transport, None)
        if seat is None:
            return
        CONNECTIONS.set(len(self.seats))
        self.refused -= seat.is_refused
        if seat.network is None:
            return
        self._networks[seat.network] -= 1
        if self._networks[seat.network] <= 0:
            del self._networks[seat.network]


def allow_descriptors() -> None:
    """Raise the limit on open files as far as possible; the usual 1,024 suits programs that use `select`."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # some systems allow less than they report
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _connections_possible() -> float:
    """Return the maximum number of clients; each client may need a connection to a service as well."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return float("inf")
    return max(1, (allowed - SPARE_DESCRIPTORS) // 2)
