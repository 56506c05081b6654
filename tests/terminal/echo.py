"""Keystroke to echo over several paths, measured in turns, so that other load affects all of them alike."""

import os
import pty
import select
import shutil
import socket
import statistics
import subprocess
import time
import tty
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, Self

from tests.support import eventually, free_port

KEYS, KEY_SECONDS = 25, 0.01  # per round; between keys, as when someone types fast
ROUNDS_MIN, ROUNDS_MAX = 4, 60
PING, PONG = 9, 10
SECONDS_MAX = 30.0  # to wait for one echo
READY = b"ready\r\n"
PROGRAM = "stty -icanon -echo; echo rea''dy; exec cat"


class Path(Protocol):
    """A way to a terminal in which `cat` returns every key."""

    def type(self, data: bytes) -> None: ...

    def output(self) -> bytes: ...


class PlainTerminal:
    """A pseudo-terminal of this process."""

    def __init__(self) -> None:
        self._pid, self._master = pty.fork()
        if self._pid == 0:
            os.execvp("cat", ["cat"])
        tty.setcbreak(self._master)

    def type(self, data: bytes) -> None:
        os.write(self._master, data)

    def output(self) -> bytes:
        assert select.select([self._master], [], [], SECONDS_MAX)[0]
        return os.read(self._master, 100)

    def close(self) -> None:
        os.kill(self._pid, 9)
        os.waitpid(self._pid, 0)
        os.close(self._master)


class Line:
    """A WebSocket client without a library or an event loop, so that it adds no time of its own."""

    def __init__(self, port: int, path: str, subprotocol: str, *headers: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=SECONDS_MAX)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb", buffering=0)
        lines = (
            f"GET {path} HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            f"Sec-WebSocket-Protocol: {subprotocol}",
            *headers,
        )
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        assert b" 101 " in self._file.readline()
        while self._file.readline() != b"\r\n":
            pass

    def send(self, kind: int, data: bytes) -> None:
        assert len(data) < 126
        self._socket.sendall(bytes((0x80 | kind, 0x80 | len(data), 0, 0, 0, 0)) + data)  # a mask of zeros

    def message(self) -> tuple[int, bytes]:
        """Read the next message; answer pings meanwhile."""
        while True:
            kind, length = self._exactly(2)
            if length >= 126:
                length = int.from_bytes(self._exactly(2 if length == 126 else 8), "big")
            data = self._exactly(length)
            if kind & 15 != PING:
                return kind & 15, data
            self.send(PONG, data)

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


class OurTerminal(Line):
    """A terminal of the service, directly or through the gateway."""

    def __init__(self, port: int, session: str, token: str) -> None:
        path = f"/terminal/ws?session={session}"
        super().__init__(port, path, "term.v1", f"Authorization: Bearer {token}")
        self.send(1, b'{"type":"hello","rows":24,"cols":80,"resume":null}')
        self.type(f"{PROGRAM}\n".encode())
        wait_until_ready(self)

    def type(self, data: bytes) -> None:
        self.send(2, data)

    def output(self) -> bytes:
        while True:
            kind, data = self.message()
            if kind == 2:
                return data[8:]


class Ttyd(Line):
    """A terminal of ttyd, as its own page speaks to it."""

    def __init__(self, port: int) -> None:
        super().__init__(port, "/ws", "tty")
        self.send(2, b'{"AuthToken":"","columns":80,"rows":24}')
        wait_until_ready(self)

    @classmethod
    @contextmanager
    def started(cls, program: str) -> Iterator[Self]:
        port = free_port()
        command = [program, "-W", "-i", "127.0.0.1", "-p", str(port), "-d", "1", "sh", "-c", PROGRAM]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            assert eventually(lambda: _accepts(port), seconds=SECONDS_MAX)
            terminal = cls(port)
            yield terminal
            terminal.close()
        finally:
            process.terminate()
            process.wait()

    def type(self, data: bytes) -> None:
        self.send(2, b"0" + data)

    def output(self) -> bytes:
        while True:
            _, data = self.message()
            if data[:1] == b"0":
                return data[1:]


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ttyd_program() -> str | None:
    return shutil.which(os.environ.get("TTYD", "ttyd"))


def wait_until_ready(path: Path) -> None:
    seen = b""
    while READY not in seen:
        seen += path.output()


def echo_seconds(path: Path) -> float:
    began = time.perf_counter()
    path.type(b"x")
    while b"x" not in path.output():
        pass
    return time.perf_counter() - began


def measured_round(paths: Mapping[str, Path]) -> dict[str, list[float]]:
    """Type the same number of keys over each path, one key after the other in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in paths}
    for _ in range(KEYS):
        for name, path in paths.items():
            time.sleep(KEY_SECONDS)
            seconds[name].append(echo_seconds(path))
    return seconds


def least_difference(plain: Path, path: Path, wanted: float) -> float:
    """Return by how much the median over a path exceeds that of a plain terminal, in the best round.

    Other programs on the machine can only add time, so what a path itself takes shows in the best round.
    There are more rounds as long as the difference is larger than wanted.
    """
    best = float("inf")
    for number in range(ROUNDS_MAX):
        found = measured_round({"plain": plain, "path": path})
        best = min(best, statistics.median(found["path"]) - statistics.median(found["plain"]))
        if best <= wanted and number + 1 >= ROUNDS_MIN:
            break
    return best
