"""Real servers for tests: started from the installed programs, thrown away at the end."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

START_SECONDS = 60


def need(*programs: str) -> list[str]:
    """Where the programs are; skips the test when one is missing, and fails instead when CI=true."""
    found = [shutil.which(program) or _debian(program) for program in programs]
    missing = [program for program, path in zip(programs, found, strict=True) if path is None]
    if missing:
        reason = f"not installed: {', '.join(missing)}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return [path for path in found if path is not None]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def eventually(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Whether the condition becomes true in time; for what other processes do."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@contextmanager
def postgresql() -> Iterator[str]:
    """A PostgreSQL server of our own; yields the URL of its first database."""
    initdb, postgres = need("initdb", "postgres")
    folder = Path(tempfile.mkdtemp(prefix="gatehouse-postgresql-"))
    as_user = _unprivileged(folder)
    data, port = folder / "data", free_port()
    settings = ["-c", "fsync=off", "-c", "max_connections=200", "-c", f"unix_socket_directories={folder}"]
    subprocess.run(
        [*as_user, initdb, "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"],
        check=True,
        capture_output=True,
    )
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [*as_user, postgres, "-D", str(data), "-p", str(port), "-h", "127.0.0.1", *settings],
            stdout=log,
            stderr=log,
        )
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    try:
        _wait_for_postgresql(url, server, folder / "log")
        yield url
    finally:
        server.terminate()
        server.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def new_database(server_url: str, name: str) -> Iterator[str]:
    """An empty database on the server, dropped at the end."""
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
    """Debian keeps the server programs of PostgreSQL out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    return str(found[-1]) if found else None


def _unprivileged(folder: Path) -> list[str]:
    """PostgreSQL refuses to run as root; then it runs as nobody."""
    if os.getuid() != 0:
        return []
    shutil.chown(folder, "nobody")
    return ["setpriv", "--reuid=nobody", "--clear-groups"]
