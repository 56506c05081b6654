"""An open-loop load generator: requests at a constant rate, timed from their due time.

A closed loop such as wrk's waits for a slow response before it sends the next request, and so omits exactly
the requests that would have been slow (coordinated omission). Here the schedule continues regardless.
"""

import gc
import os
import re
import select
import socket
import statistics
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 32
READ_BYTES = 64 * 1024
ANSWER_SECONDS = 10.0
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


@dataclass(frozen=True)
class Latencies:
    """Latencies of one run in milliseconds; `rate` is the rate actually achieved."""

    rate: float
    p50: float
    p99: float


class PaceError(Exception):
    """The load could not be generated, so there is no result."""


def at_rate(port: int, head: bytes, rate: float, seconds: float) -> Latencies:
    """Send `rate` requests per second over keep-alive connections."""
    _allow_short_sleeps()
    pacer = _Pacer(port, head)
    gc.collect()
    gc.disable()  # pauses of the generator must not be measured
    try:
        pacer.run(rate, seconds)
    finally:
        gc.enable()
        pacer.close()
    cuts = statistics.quantiles(pacer.latencies, n=100)
    return Latencies(len(pacer.latencies) / pacer.elapsed, cuts[49] * 1000, cuts[98] * 1000)


class _Pacer:
    """One thread around `select` with microsecond timeouts, because event loop timers are too coarse."""

    def __init__(self, port: int, head: bytes) -> None:
        self._head = head
        self._sockets = {}
        for _ in range(CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets[connection.fileno()] = connection
        self._free = deque(self._sockets)
        self._due: dict[int, float] = {}  # connection: due time of its request
        self._late: deque[float] = deque()  # due times of requests that wait for a free connection
        self.latencies: list[float] = []
        self.elapsed = 0.0

    def run(self, rate: float, seconds: float) -> None:
        begun = time.perf_counter()
        interval, last = 1 / rate, begun + seconds
        due = begun
        while True:
            now = time.perf_counter()
            while due <= now and due < last:
                self._late.append(due)
                due += interval
            while self._late and self._free:
                self._send(self._free.popleft(), self._late.popleft())
            if due >= last and not self._due:
                break
            if now - last > ANSWER_SECONDS:
                raise PaceError(f"{len(self._due)} responses are missing")
            pause = max(0.0, due - time.perf_counter()) if due < last else ANSWER_SECONDS
            for number in select.select(list(self._due), (), (), pause)[0]:
                self._receive(number)
        self.elapsed = seconds

    def close(self) -> None:
        for connection in self._sockets.values():
            connection.close()

    def _send(self, number: int, due: float) -> None:
        self._due[number] = due
        self._sockets[number].send(self._head)

    def _receive(self, number: int) -> None:
        data = self._sockets[number].recv(READ_BYTES)
        while not is_whole(data):
            more = self._sockets[number].recv(READ_BYTES)
            if not more:
                raise PaceError(f"the connection was closed after {data[:200]!r}")
            data += more
        if not data.startswith(b"HTTP/1.1 200"):
            raise PaceError(f"unexpected response {data[:200]!r}")
        self.latencies.append(time.perf_counter() - self._due.pop(number))
        self._free.append(number)


def is_whole(data: bytes) -> bool:
    """Whether this is a complete response to a request other than HEAD."""
    head, end, body = data.partition(b"\r\n\r\n")
    if not end or head[9:12] == b"204":
        return bool(end)
    length = _LENGTH.search(head)
    return len(body) >= int(length.group(1)) if length else body.endswith(b"0\r\n\r\n")


def _allow_short_sleeps() -> None:
    """Reduce the timer slack, by default 50 µs, which Linux adds to every wait."""
    slack = Path(f"/proc/{os.getpid()}/timerslack_ns")
    if slack.exists():
        slack.write_text("1")
