"""Measured on a quiet machine: time from key to echo, compared with a plain terminal; memory per terminal."""

import asyncio
import os
import pty
import socket
import statistics
import time
import tty
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.terminal.support import Owner, Service

pytestmark = pytest.mark.prove

KEYS = 400
KEY_SECONDS = 0.01  # between keys, as when someone types fast
ECHO_MORE_MS_MAX = 1.0
TERMINALS = 100
TERMINAL_BYTES_MAX = 300 * 1024
IDLE_SECONDS, IDLE_SHARE_MAX = 10.0, 0.5


@pytest.fixture(scope="module")
def large_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    started = Service(tmp_path_factory.mktemp("figures"), BOXES_MAX="200")
    try:
        started.start()
        yield started
    finally:
        started.close()


def echo_of_a_plain_terminal() -> list[float]:
    """Return the seconds from key to echo on a pseudo-terminal of this process, with the same program."""
    pid, master = pty.fork()
    if pid == 0:
        os.execvp("cat", ["cat"])
    try:
        tty.setcbreak(master)
        seconds = []
        for _ in range(KEYS):
            time.sleep(KEY_SECONDS)
            began = time.perf_counter()
            os.write(master, b"x")
            while b"x" not in os.read(master, 100):
                pass
            seconds.append(time.perf_counter() - began)
        return seconds
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(master)


class Line:
    """A WebSocket client without a library or an event loop, so that it adds no time of its own."""

    def __init__(self, url: str, session: str, token: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._socket = socket.create_connection((host, int(port)), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb", buffering=0)
        lines = (
            f"GET /terminal/ws?session={session} HTTP/1.1",
            f"Host: {host}:{port}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Protocol: term.v1",
            f"Authorization: Bearer {token}",
        )
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        assert b" 101 " in self._file.readline()
        while self._file.readline() != b"\r\n":
            pass
        self._send(1, b'{"type":"hello","rows":24,"cols":80,"resume":null}')

    def type(self, data: bytes) -> None:
        self._send(2, data)

    def _send(self, kind: int, data: bytes) -> None:
        assert len(data) < 126
        self._socket.sendall(bytes((0x80 | kind, 0x80 | len(data), 0, 0, 0, 0)) + data)  # a mask of zeros

    def output(self) -> bytes:
        """Read the next piece of output."""
        while True:
            kind, length = self._exactly(2)
            if length >= 126:
                length = int.from_bytes(self._exactly(2 if length == 126 else 8), "big")
            data = self._exactly(length)
            if kind & 15 == 2:
                return data[8:]

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self._file.read(size - len(data))
            assert piece, "the socket was closed"
            data += piece
        return data

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def echo_over(url: str, session: str, token: str) -> list[float]:
    """Return the seconds from key to echo over a socket, with the same program in the shell."""
    line = Line(url, session, token)
    try:
        line.type(b"stty -icanon -echo; echo rea''dy; exec cat\n")
        seen = b""
        while b"ready\r\n" not in seen:
            seen += line.output()
        seconds = []
        for _ in range(KEYS):
            time.sleep(KEY_SECONDS)
            began = time.perf_counter()
            line.type(b"x")
            while b"x" not in line.output():
                pass
            seconds.append(time.perf_counter() - began)
        return seconds
    finally:
        line.close()


def words(seconds: list[float]) -> str:
    p50, p95 = statistics.median(seconds) * 1000, statistics.quantiles(seconds, n=20)[18] * 1000
    return f"p50 {p50:.3f} ms, p95 {p95:.3f} ms"


async def test_echo_through_the_service_takes_at_most_a_millisecond_more_than_on_a_plain_terminal(
    large_service: Service,
) -> None:
    plain = await asyncio.to_thread(echo_of_a_plain_terminal)
    async with Owner(large_service.url) as owner:
        session = await owner.open()
        through = await asyncio.to_thread(echo_over, owner.url, session, owner.token)
        await owner.client.post("/terminal/stop")
    print(f"plain: {words(plain)}; service: {words(through)}")

    assert statistics.median(through) - statistics.median(plain) <= ECHO_MORE_MS_MAX / 1000


async def test_a_hundred_open_terminals_use_little_memory_and_an_idle_core(large_service: Service) -> None:
    async with AsyncExitStack() as stack:
        warm = await stack.enter_async_context(Owner(large_service.url))
        await stack.enter_async_context(warm.watching(await warm.open()))
        before = large_service.memory_bytes()
        for _ in range(TERMINALS):
            owner = await stack.enter_async_context(Owner(large_service.url))
            screen = await stack.enter_async_context(owner.watching(await owner.open()))
            await screen.type("echo o''pen\n")
            await screen.until(b"open\r\n")
        each = (large_service.memory_bytes() - before) / TERMINALS
        used = cpu_seconds(large_service.pid)
        await asyncio.sleep(IDLE_SECONDS)
        share = (cpu_seconds(large_service.pid) - used) / IDLE_SECONDS
    print(f"{TERMINALS} terminals: {each / 1024:.0f} KiB each, {share * 100:.1f} % of one core while idle")

    assert each < TERMINAL_BYTES_MAX
    assert share < IDLE_SHARE_MAX


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
