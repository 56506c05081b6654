"""WebSockets: memory per idle connection, and the latency that a proxy adds to an echo."""

import socket
import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass

from tests.bench.gateway.programs import Program
from tests.bench.gateway.proxies import OURS, SOCKET, Stage
from tests.bench.gateway.speed import REFERENCE, Goal, request_head

IDLE = 5_000
FIRST = 50  # warm-up connections, whose one-time costs are not counted
ROUND_TRIPS, ROUNDS = 200, 10
ANSWER_SECONDS = 30
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
MESSAGE = b"what a terminal sends for a key"
FRAME = bytes([0x81, 0x80 | len(MESSAGE)]) + bytes(4) + MESSAGE
ECHO = bytes([0x81, len(MESSAGE)]) + MESSAGE
UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {KEY}",
)


class SocketError(Exception):
    """The other side violated the WebSocket protocol."""


@dataclass
class Relayed:
    """The costs of one proxy; `direct_ms` is the echo without a proxy."""

    idle_kib: float
    echo_ms: float
    direct_ms: float


def measure(stage: Stage) -> dict[str, Relayed]:
    names = [proxy.name for proxy in stage.proxies if proxy.name in (OURS, REFERENCE)]
    idle = {name: _idle_kib(stage.proxy(name)) for name in names}
    echoes = _echoes([stage.sink, *(stage.proxy(name) for name in names)])
    direct = echoes[stage.sink.name]
    return {name: Relayed(idle[name], echoes[name], direct) for name in names}


def _idle_kib(proxy: Program) -> float:
    with ExitStack() as stack:
        for _ in range(FIRST):
            stack.enter_context(_opened(proxy))
        before = proxy.resident_mib()
        for _ in range(IDLE):
            stack.enter_context(_opened(proxy))
        return (proxy.resident_mib() - before) * 1024 / IDLE


def _echoes(servers: list[Program]) -> dict[str, float]:
    """Return the median round trip in milliseconds by server, measured in interleaved rounds."""
    times: dict[str, list[float]] = {server.name: [] for server in servers}
    with ExitStack() as stack:
        opened = {server.name: stack.enter_context(_opened(server)) for server in servers}
        for _ in range(ROUNDS):
            for name, connection in opened.items():
                times[name] += [_round_trip(connection) for _ in range(ROUND_TRIPS)]
    return {name: statistics.median(each) * 1000 for name, each in times.items()}


def _opened(server: Program) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), ANSWER_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(request_head(server.port, SOCKET, *UPGRADE))
    answer = b""
    while b"\r\n\r\n" not in answer and (more := connection.recv(4096)):
        answer += more
    if not answer.startswith(b"HTTP/1.1 101") or ACCEPT not in answer:
        raise SocketError(f"{server.name}: {answer!r}")
    return connection


def _round_trip(connection: socket.socket) -> float:
    begun = time.perf_counter()
    connection.sendall(FRAME)
    answer = connection.recv(4096)
    seconds = time.perf_counter() - begun
    if answer != ECHO:
        raise SocketError(f"echo: {answer!r}")
    return seconds


def show(relayed: dict[str, Relayed]) -> None:
    print(f"\n{'WebSocket':<20}{'KiB idle':>9}{'echo ms':>9}{'direct ms':>11}{'added ms':>10}")
    for name, each in relayed.items():
        added = each.echo_ms - each.direct_ms
        print(f"{name:<20}{each.idle_kib:>9.1f}{each.echo_ms:>9.3f}{each.direct_ms:>11.3f}{added:>10.3f}")


def goals(relayed: dict[str, Relayed]) -> list[Goal]:
    ours = relayed[OURS]
    added = ours.echo_ms - ours.direct_ms
    return [
        Goal("KiB per idle WebSocket", ours.idle_kib, "< 20", ours.idle_kib < 20),
        Goal("ms added to a WebSocket echo", added, "< 0.5", added < 0.5),
    ]
