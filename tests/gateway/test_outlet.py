"""Small writes are held until the end of the event loop's turn; none is lost or reordered."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from gateway.http.coalescing import HELD_BYTES_MAX, Outlet


class Ends:
    """An outlet, and the socket at its other end."""

    def __init__(self, outlet: Outlet, peer: socket.socket) -> None:
        self.outlet = outlet
        self._peer = peer

    def arrived(self) -> bytes | None:
        """Return what has arrived so far; None if nothing has."""
        try:
            return self._peer.recv(1 << 20)
        except BlockingIOError:
            return None


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    ours, peer = socket.socketpair()
    peer.setblocking(False)
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
    yield Ends(Outlet(transport), peer)
    transport.abort()
    peer.close()
    await asyncio.sleep(0)


async def end_of_turn() -> None:
    await asyncio.sleep(0)


async def test_small_write_waits_for_the_end_of_the_turn(ends: Ends) -> None:
    ends.outlet.write(b"one ")
    ends.outlet.write(b"two")
    assert ends.arrived() is None
    await end_of_turn()
    assert ends.arrived() == b"one two"
    ends.outlet.write(b"three")
    await end_of_turn()
    assert ends.arrived() == b"three"


async def test_large_write_is_sent_at_once_and_in_order(ends: Ends) -> None:
    large = b"x" * (HELD_BYTES_MAX + 1)
    ends.outlet.write(b"small")
    ends.outlet.write(large)
    assert ends.arrived() == b"small" + large
    await end_of_turn()
    assert ends.arrived() is None


async def test_number_of_held_bytes_is_limited(ends: Ends) -> None:
    for _ in range(3 * HELD_BYTES_MAX // 1000):
        ends.outlet.write(b"x" * 1000)
    assert len(ends.arrived() or b"") > HELD_BYTES_MAX


@pytest.mark.parametrize("end", ["close", "write_eof"])
async def test_held_bytes_are_sent_before_the_connection_ends(ends: Ends, end: str) -> None:
    ends.outlet.write(b"the last")
    getattr(ends.outlet, end)()
    assert ends.arrived() == b"the last"
    await end_of_turn()
    assert ends.arrived() == b""


async def test_held_bytes_are_dropped_on_abort(ends: Ends) -> None:
    ends.outlet.write(b"never")
    ends.outlet.abort()
    await end_of_turn()
    assert ends.arrived() == b""
