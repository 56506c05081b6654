"""PostgreSQL on three servers with failover by Patroni, and etcd, where Patroni keeps who the primary is."""

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from tests import support

SCOPE = "gatehouse"
MEMBERS = 3
START_SECONDS = 180
# Patroni allows no shorter ones. If a primary vanishes with its Patroni, another one takes over after TTL.
TTL, LOOP, RETRY = 20, 2, 3


class Member:
    """One server with the Patroni that starts, watches and promotes it."""

    def __init__(self, folder: Path, name: str, etcd: int) -> None:
        self.name, self.folder = name, folder / name
        self.port, self._rest = support.free_port(), support.free_port()
        (initdb,) = support.need("initdb")
        self.folder.mkdir()
        self.folder.chmod(0o700)
        self._as_user = support._unprivileged(self.folder)
        self._config = self.folder / "patroni.yml"
        self._config.write_text(yaml.safe_dump(self._settings(etcd, Path(initdb).resolve().parent)))
        self._process: subprocess.Popen[bytes] | None = None

    def _settings(self, etcd: int, programs: Path) -> dict[str, Any]:
        here, rest = f"127.0.0.1:{self.port}", f"127.0.0.1:{self._rest}"
        parameters = {"max_connections": 200, "wal_keep_size": "256MB"}
        return {
            "scope": SCOPE,
            "name": self.name,
            "restapi": {"listen": rest, "connect_address": rest},
            "etcd3": {"host": f"127.0.0.1:{etcd}"},
            "bootstrap": {
                "dcs": {
                    "ttl": TTL,
                    "loop_wait": LOOP,
                    "retry_timeout": RETRY,
                    "synchronous_mode": True,
                    "master_start_timeout": 0,  # a primary that crashes is replaced instead of restarted
                    "postgresql": {"use_pg_rewind": True, "parameters": parameters},
                },
                "initdb": [{"encoding": "UTF8"}, "data-checksums", "no-sync"],
            },
            "postgresql": {
                "listen": here,
                "connect_address": here,
                "bin_dir": str(programs),
                "data_dir": str(self.folder / "data"),
                "pgpass": str(self.folder / "pgpass"),
                "authentication": {
                    "superuser": {"username": "postgres", "password": "of-postgres"},
                    "replication": {"username": "replicator", "password": "of-the-replicator"},
                },
                "parameters": {"unix_socket_directories": str(self.folder)},
                "pg_hba": ["local all all trust", *_TRUSTED],
            },
            "watchdog": {"mode": "off"},
        }

    def start(self) -> None:
        (patroni,) = support.need("patroni")
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._as_user, patroni, str(self._config)], stdout=log, stderr=log, cwd=self.folder
            )

    def state(self) -> dict[str, Any]:
        """What Patroni says of its server; empty if nothing responds."""
        with suppress(OSError, ValueError):
            asked = f"http://127.0.0.1:{self._rest}/patroni"
            with urllib.request.urlopen(asked, timeout=2) as response:
                return dict(json.load(response))
        return {}

    @property
    def has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    @property
    def server(self) -> int:
        """The process id of the PostgreSQL server."""
        return int((self.folder / "data" / "postmaster.pid").read_text().split()[0])

    def kill_server(self) -> None:
        os.kill(self.server, signal.SIGKILL)

    def kill(self) -> None:
        """Kill Patroni and its server, as if their machine lost its power."""
        assert self._process is not None
        server = self.server
        self._process.kill()
        os.kill(server, signal.SIGKILL)
        self._process.wait(30)
        self._process = None

    def hand_over(self, to: "Member") -> None:
        """Let another server become the primary, as before maintenance of this one."""
        wanted = json.dumps({"leader": self.name, "candidate": to.name}).encode()
        address = f"http://127.0.0.1:{self._rest}/switchover"
        with urllib.request.urlopen(address, data=wanted, timeout=60) as response:
            assert response.status == 200

    def stop(self) -> None:
        """Stop Patroni, which stops the server; a server without Patroni is killed."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        with suppress(OSError, ValueError, IndexError):
            os.kill(self.server, signal.SIGKILL)

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-3000:]


_TRUSTED = ["host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"]


class Cluster:
    """The members. `url` is that of whichever is the primary."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        hosts = ",".join("127.0.0.1" for _ in members)
        ports = ",".join(str(one.port) for one in members)
        self._servers = f"host={hosts}&port={ports}&target_session_attrs=primary"

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?{self._servers}"

    def of(self, role: str) -> list[Member]:
        return [one for one in self.members if (said := one.state()) and _role(said) == role]

    @property
    def primary(self) -> Member:
        (found,) = self.of("primary")
        return found

    def synchronous(self) -> Member:
        """The standby that has everything that was ever acknowledged."""
        (found,) = self.of("synchronous")
        return found

    def until_whole(self) -> None:
        """Wait until there is a primary, and a standby that acknowledges each commit with it."""
        deadline = time.monotonic() + START_SECONDS
        while not (len(self.of("primary")) == 1 and len(self.of("synchronous")) == 1 and self._is_complete()):
            if time.monotonic() > deadline or any(one.has_ended for one in self.members):
                pytest.fail("\n".join(f"{one.name}: {one.state()}\n{one.log()}" for one in self.members))
            time.sleep(0.2)

    def _is_complete(self) -> bool:
        return all(one.state().get("state") == "running" for one in self.members)

    def create(self, database: str) -> str:
        """Create a database; return its URL on the present primary alone."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{database}"'.encode())
        return f"postgresql://postgres@127.0.0.1:{self.primary.port}/{database}"


def _role(said: dict[str, Any]) -> str:
    if said.get("role") in ("master", "primary"):
        return "primary"
    return "synchronous" if said.get("sync_standby") else "other"


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Start etcd and all members; skip the test without Patroni, which few machines have."""
    for program, package in (("patroni", "patroni"), ("etcd", "etcd-server")):
        if shutil.which(program) is None:
            pytest.skip(f"not installed: {program} (Debian: {package})")
    with support.folder_for_postgresql() as folder, ExitStack() as stack:
        folder.chmod(0o755)
        etcd = stack.enter_context(_etcd(folder / "etcd"))
        members = [Member(folder, f"member{number}", etcd) for number in range(MEMBERS)]
        for each in members:
            stack.callback(each.stop)
            each.start()
        found = Cluster(members)
        found.until_whole()
        yield found


@contextmanager
def _etcd(folder: Path) -> Iterator[int]:
    (etcd,) = support.need("etcd")
    clients, peers = support.free_port(), support.free_port()
    ours, theirs = f"http://127.0.0.1:{clients}", f"http://127.0.0.1:{peers}"
    words = ["--name", "one", "--data-dir", str(folder), "--unsafe-no-fsync", "--log-level", "error"]
    words += ["--listen-client-urls", ours, "--advertise-client-urls", ours]
    words += ["--listen-peer-urls", theirs, "--initial-advertise-peer-urls", theirs]
    words += ["--initial-cluster", f"one={theirs}"]
    with (folder.parent / "etcd.log").open("ab") as log:
        process = subprocess.Popen([etcd, *words], stdout=log, stderr=log)
    try:
        healthy = support.eventually(lambda: _is_healthy(ours), seconds=support.START_SECONDS)
        assert healthy, (folder.parent / "etcd.log").read_text()
        yield clients
    finally:
        process.terminate()
        process.wait(30)


def _is_healthy(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=2) as response:
        return bool(response.status == 200)
    return False
