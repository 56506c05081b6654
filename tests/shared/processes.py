"""Starts real processes under test, reads their output, and ends them."""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

from gatehouse.starting import MESSAGE_BYTES_MAX
from shared.testing import TEST_INTERNAL_SECRET, TEST_JWT_SECRET
from tests import watchdog
from tests.shared.forked import COMMAND, FAIL_POINT

SECONDS_MAX = 30.0
ROOT = Path(__file__).resolve().parents[2]


class Running:
    """A started process; tests can wait for its output."""

    def __init__(self, process: "subprocess.Popen[str] | Forked") -> None:
        self.process = process
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def line_with(self, text: str, *, after: int = 0) -> str:
        """Wait for the first line that contains the text, and return it."""
        with self._changed:
            self._changed.wait_for(lambda: self._find(text, after) or self._ended, SECONDS_MAX)
            found = self._find(text, after)
        assert found, f"no line with {text!r} in:\n{self.output}"
        return found

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def code(self) -> int:
        """Wait until the process has ended and its output has been read; return the exit code."""
        code = self.process.wait(SECONDS_MAX)
        with self._changed:
            assert self._changed.wait_for(lambda: self._ended, SECONDS_MAX), "a child holds its output open"
        return code

    def read_to_the_end(self) -> None:
        self._reader.join(SECONDS_MAX)

    def _find(self, text: str, after: int) -> str | None:
        return next((line for line in self.lines[after:] if text in line), None)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                with self._changed:
                    self.lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class Forked:
    """A process of the fork server, with the part of the Popen interface used here."""

    stdin = None

    def __init__(self, server: "ForkServer", pid: int, handle: int, stdout: IO[str] | None = None) -> None:
        self.pid, self.stdout = pid, stdout
        self._server, self._handle = server, handle
        self._code: int | None = None

    def poll(self) -> int | None:
        return self._end(0)

    def wait(self, timeout: float) -> int:
        code = self._end(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        return code

    def _end(self, seconds: float) -> int | None:
        if self._code is None and (code := self._server.end_of(self.pid, seconds)) is not None:
            self._code = code
            os.close(self._handle)
        return self._code

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


class ForkServer:
    """The fork server of `make up`, for tests: its processes start in a quarter of the time."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        self._ended: dict[int, int] = {}
        with theirs:
            command = [sys.executable, "-m", "gatehouse.fork_server", str(theirs.fileno()), "-" * 64]
            environment = {**_kept(), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
            )

    def fork(self, module: str, environment: Mapping[str, str], stdout: int) -> tuple[int, int]:
        """Return the pid of a new process, and a handle of it."""
        nothing = os.open(os.devnull, os.O_RDONLY)
        order = json.dumps({"module": module, "environment": dict(environment)}).encode()
        with self._lock:
            socket.send_fds(self._channel, [order], [nothing, stdout])
            while "started" not in (message := self._receive(SECONDS_MAX))[0]:
                pass
        os.close(nothing)
        watchdog.end_with_run(message[0]["started"])
        return message[0]["started"], message[1][0]

    def end_of(self, pid: int, seconds: float) -> int | None:
        """Return the exit code of a process, or None if it is still running after `seconds`."""
        with self._lock, suppress(BlockingIOError, TimeoutError):
            while pid not in self._ended:
                self._receive(seconds)
        return self._ended.pop(pid, None)

    def _receive(self, seconds: float) -> tuple[dict[str, Any], list[int]]:
        self._channel.settimeout(seconds)
        content, files, _, _ = socket.recv_fds(self._channel, MESSAGE_BYTES_MAX, 1)
        message = json.loads(content)
        if "ended" in message:
            self._ended[message["ended"]] = message["code"]
        return message, files

    def close(self) -> None:
        self._channel.close()
        self._process.wait(SECONDS_MAX)


@cache
def _fork_server() -> ForkServer:
    server = ForkServer()
    atexit.register(server.close)
    return server


def fork(*command: str, environment: Mapping[str, str], output: int) -> Forked:
    """Run `python -m …` through the fork server, as the launcher does. Not for tests of the startup."""
    server, (module, *arguments) = _fork_server(), command
    environment = {**_kept(), "PYTHONPATH": str(ROOT), **environment}
    if arguments or FAIL_POINT in environment:
        environment[COMMAND], module = json.dumps(command), "tests.shared.forked"
    return Forked(server, *server.fork(module, environment, output))


@contextmanager
def forked(*command: str, environment: Mapping[str, str]) -> Iterator[Running]:
    """Run `python -m …` through the fork server, and read its output."""
    readable, output = os.pipe()
    process = fork(*command, environment=environment, output=output)
    os.close(output)
    process.stdout = os.fdopen(readable, encoding="utf-8", errors="replace")
    running = Running(process)
    try:
        yield running
    finally:
        process.kill()
        process.wait(SECONDS_MAX)
        running.read_to_the_end()


@contextmanager
def started(
    *arguments: str, environment: Mapping[str, str], cwd: Path = ROOT, stdin: int = subprocess.DEVNULL
) -> Iterator[Running]:
    """Run `python …` with only the given environment, and what coverage needs."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env={**_kept(), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environment},
        cwd=cwd,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    running = Running(process)
    try:
        yield running
    finally:
        process.kill()
        process.wait(SECONDS_MAX)
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.close()
        running.read_to_the_end()


def _kept() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(("COVERAGE_", "PATH"))}


def service_environment(folder: Path, port: int, **more: str) -> dict[str, str]:
    """Return the environment that a service needs to start in isolation."""
    return {
        "PORT": str(port),
        "DATA_DIR": str(folder),
        "JWT_SECRET": TEST_JWT_SECRET,
        "INTERNAL_SECRET": TEST_INTERNAL_SECRET,
        **more,
    }
