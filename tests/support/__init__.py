"""Real servers for tests, started from the installed programs and discarded at the end."""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest

START_SECONDS = 60
PORT_FIRST, PORTS_PER_RANGE, PORT_RANGES = 10_000, 2_500, 9


def need(*programs: str) -> list[str]:
    """Return the paths of programs; if one is missing, skips the test, or fails it if CI=true."""
    found = [shutil.which(program) or _debian(program) for program in programs]
    missing = [program for program, path in zip(programs, found, strict=True) if path is None]
    if missing:
        do_without(f"not installed: {', '.join(missing)}")
    return [path for path in found if path is not None]


def need_answer(command: list[str], otherwise: str) -> None:
    """Skip or fail the test unless this command succeeds."""
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        do_without(otherwise)


def install_from_npm(folder: Path, *packages: str) -> str:
    """Install packages in a folder and return the path of node; otherwise skip or fail the test."""
    node, npm = need("node", "npm")
    command = [npm, "install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts"]
    need_answer([*command, "--prefix", str(folder), *packages], f"npm cannot install {' '.join(packages)}")
    return node


def do_without(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def length(usual: float) -> float:
    """Return the duration of an open-ended test: `make prove LENGTH=10` makes it ten times as long."""
    return usual * float(os.environ.get("PROVE_LENGTH", "1"))


def free_port() -> int:
    """Return a port that no other test uses, from this worker's own range.

    The ranges are below the ephemeral ports, which outgoing connections could occupy first.
    """
    while True:
        port = next(_ports)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def free_subnet() -> str:
    """Return a range of addresses for a network of containers that no other test uses.

    It is outside those from which the engine takes the next one for a network without a range.
    """
    high, low = divmod(free_port(), 256)
    return f"10.{128 + high}.{low}.0/24"


def _ports_of_this_worker() -> Iterator[int]:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % PORT_RANGES
    first = PORT_FIRST + worker * PORTS_PER_RANGE
    start = random.randrange(PORTS_PER_RANGE)  # so that another run on this machine starts elsewhere
    return cycle(first + (start + index) % PORTS_PER_RANGE for index in range(PORTS_PER_RANGE))


_ports = _ports_of_this_worker()


def eventually(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Poll until the condition is true or the time is up; for effects of other processes."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class PostgreSQL:
    """A private PostgreSQL server in a temporary directory."""

    def __init__(
        self, folder: Path, *, inside: Sequence[str] = (), host: str = "127.0.0.1", port: int = 0
    ) -> None:
        """`inside` is a command prefix that runs the server in its own network namespace."""
        initdb, self._program = need("initdb", "postgres")
        self._folder, self._port, self._host = folder, port or free_port(), host
        self._as_user = _unprivileged(folder)
        self._inside = inside
        self._server: subprocess.Popen[bytes] | None = None
        self.url = f"postgresql://postgres@{host}:{self._port}/postgres"
        options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(
            [*self._as_user, initdb, "-D", str(folder / "data"), *options], check=True, capture_output=True
        )
        with (folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write("host all all samenet trust\n")

    def start(self) -> None:
        where = ["-D", str(self._folder / "data"), "-p", str(self._port), "-h", self._host]
        settings = ["fsync=off", "max_connections=200", f"unix_socket_directories={self._folder}"]
        options = [word for setting in settings for word in ("-c", setting)]
        with (self._folder / "log").open("a") as log:
            self._server = subprocess.Popen(
                [*self._inside, *self._as_user, self._program, *where, *options], stdout=log, stderr=log
            )
        _wait_for_postgresql(self.url, self._server, self._folder / "log")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop the server; with SIGQUIT it drops its clients without notice."""
        if self._server is not None:
            self._server.send_signal(how)
            self._server.wait(timeout=30)
            self._server = None


@contextmanager
def postgresql_that_stops() -> Iterator[PostgreSQL]:
    """Start a server that the test may stop and start again."""
    with folder_for_postgresql() as folder:
        server = PostgreSQL(folder)
        try:
            server.start()
            yield server
        finally:
            server.stop(signal.SIGINT)


@contextmanager
def folder_for_postgresql() -> Iterator[Path]:
    """Create a temporary directory for the server. Only root could enter one below pytest's directory."""
    folder = Path(tempfile.mkdtemp(prefix="gatehouse-postgresql-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgresql() -> Iterator[str]:
    """Start a private PostgreSQL server; yields the URL of its first database."""
    with postgresql_that_stops() as server:
        yield server.url


class RedisServer:
    """A private Redis server without persistence by default; it can be killed and frozen."""

    def __init__(self, folder: Path, *options: str) -> None:
        (self._program,) = need("redis-server")
        self.folder, self._port = folder, free_port()
        self._options = options or ("--save", "", "--appendonly", "no")
        self._server: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        where = ["--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        self._server = subprocess.Popen([self._program, *where, *self._options], stdout=subprocess.DEVNULL)
        if not eventually(self._answers, seconds=START_SECONDS):
            pytest.fail("Redis did not start")

    def send(self, number: signal.Signals) -> None:
        assert self._server is not None
        self._server.send_signal(number)

    def kill(self) -> None:
        if self._server is not None:
            self._server.kill()
            self._server.wait(timeout=30)
            self._server = None

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1) as asking:
            asking.sendall(b"PING\r\n")
            return asking.recv(16) == b"+PONG\r\n"
        return False


@contextmanager
def redis_server(*options: str) -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory(prefix="gatehouse-redis-") as folder:
        server = RedisServer(Path(folder), *options)
        try:
            server.start()
            yield server
        finally:
            server.kill()


@contextmanager
def new_database(server_url: str, name: str) -> Iterator[str]:
    """Create an empty database on the server; it is dropped at the end."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    try:
        yield server_url.rpartition("/")[0] + f"/{name}"
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


def _wait_for_postgresql(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(psycopg.OperationalError), psycopg.connect(url, connect_timeout=2):
            return
        time.sleep(0.05)
    pytest.fail(f"PostgreSQL did not start: {log.read_text()}")


def _debian(program: str) -> str | None:
    """Find PostgreSQL's server programs on Debian, which does not put them on PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    return str(found[-1]) if found else None


def _unprivileged(folder: Path) -> list[str]:
    """Return a command prefix that runs PostgreSQL as `nobody` if we are root: it refuses to run as root."""
    if os.getuid() != 0:
        return []
    shutil.chown(folder, "nobody")
    return ["setpriv", "--reuid=nobody", "--clear-groups"]
