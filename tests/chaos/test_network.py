"""The links of `make chaos` break only as they are told to: else its faults would be the test's own."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.chaos.network import Link, link

SECONDS = 30.0


@contextmanager
def connected() -> Iterator[tuple[Link, socket.socket, socket.socket]]:
    """Yield a link, and the connection through it as both sides have it."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        link("a server", server.getsockname()[1]) as between,
        socket.create_connection(("127.0.0.1", between.port), SECONDS) as client,
    ):
        inner, _ = server.accept()
        with inner:
            inner.settimeout(SECONDS)
            yield between, client, inner


def reset(side: socket.socket, other: socket.socket) -> None:
    """Close a side that has not read everything, as the system does when its process is killed."""
    other.sendall(b"a query")
    side.recv(1)
    side.close()


def is_over(side: socket.socket) -> bool:
    try:
        return side.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("first", ["client", "server"])
def test_link_ends_both_sides_when_one_is_reset(first: str) -> None:
    with connected() as (_, client, inner):
        one, other = (client, inner) if first == "client" else (inner, client)
        reset(one, other)

        assert is_over(other)
