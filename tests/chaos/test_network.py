"""The links of `make chaos` break only as they are told to: else its faults would be the test's own."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests import support
from tests.chaos.network import DROPPED, Link, link
from tests.suite.conftest import ROOT

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


# In a process of its own, because whoever enters another network cannot return.
LOSING = """
import socket, subprocess, sys
from tests.chaos import network

if not network.enter_own_network():
    sys.exit("no network of its own")
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname(), 30)
inner, _ = server.accept()
with network.packets_lost(server.getsockname()[1]):
    for number in range(100):
        client.sendall(bytes([number]))
        inner.sendall(inner.recv(1))
        assert client.recv(1) == bytes([number])
    counted = subprocess.check_output(["iptables", "-nvxL", "INPUT"], text=True)
after = subprocess.check_output(["iptables", "-S", "INPUT"], text=True)
print(sum(int(line.split()[0]) for line in counted.splitlines() if "DROP" in line), after.count("DROP"))
"""


def in_own_network(command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a network that ends with it."""
    return subprocess.run(["unshare", "--net", *command.split()], capture_output=True, text=True, check=False)


def test_packets_are_lost_and_their_contents_arrive() -> None:
    if os.geteuid() != 0 or in_own_network("ip link set lo up").returncode != 0:
        pytest.skip("only root may have a network of its own")
    support.need("iptables")
    added = in_own_network(f"iptables --wait --append INPUT --protocol tcp {DROPPED}")
    if (
        added.returncode != 0
    ):  # also with CI=true: no program to install is missing, but a module of the kernel
        pytest.skip(f"the kernel cannot drop packets at random (xt_statistic): {added.stderr.strip()}")
    done = subprocess.run(
        [sys.executable, "-c", LOSING], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 0, done.stderr
    lost, rules_left = (int(word) for word in done.stdout.split())
    assert 0 < lost < 100
    assert rules_left == 0
