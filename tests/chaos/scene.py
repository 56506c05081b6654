"""The suite on servers of its own, two gateways, a mail server, and links that can break."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from gatehouse import programs
from tests import support
from tests.chaos.clocks import Clock, clocks
from tests.chaos.clocks import settings as settings_of_clocks
from tests.chaos.network import Link, link
from tests.notifications import smtp
from tests.suite.conftest import ROOT, Suite, postgresql_databases, running_suite

DATABASES = ("postgresql", "sqlite")
DISK_BYTES, DISK_RESERVE_BYTES = 48 << 20, 8 << 20
DATABASE_DISK_BYTES = 256 << 20
CLOCKS = ("orders", "auth", "audit", "gateway")  # programs whose clocks jump
POOL = 4
READY_SECONDS = 60


class SecondGateway:
    """A gateway that no launcher restarts. Its connection to orders can be broken."""

    def __init__(self, suite: Suite, orders: Link, log: Path) -> None:
        self.port = support.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = suite.environment_of("gateway") | {
            "PORT": str(self.port),
            "ADMIN_PORT": "0",
            "ORDERS_URL": f"http://127.0.0.1:{orders.port}",
        }
        self._environment.pop("LD_PRELOAD", None)  # it has another clock than the first gateway
        self._log = log
        self.process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "gateway"], cwd=ROOT, env=self._environment, stdout=log, stderr=log
            )

    def restart(self) -> None:
        self.process.wait(timeout=30)
        self.process = self._started()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=40)


@dataclass
class Scene:
    """Everything that can be broken."""

    suite: Suite
    second: SecondGateway
    postgresql: support.PostgreSQL | None  # None if each service has an SQLite file
    redis: support.RedisServer
    links: dict[str, Link]
    mails: smtp.Server
    databases: dict[str, str]  # direct URLs, by service
    disk: Path | None  # a small file system of the files service, if this machine permits one
    database_disk: Path | None  # another for the SQLite file of orders
    clocks: dict[str, Clock]  # by program; empty without libfaketime
    packets_can_be_lost: bool

    @property
    def services(self) -> list[str]:
        return sorted(self.databases)

    @property
    def urls(self) -> list[str]:
        return [self.suite.url, self.second.url]

    def pid_of(self, program: str) -> int:
        module = "gateway" if program == "gateway" else f"services.{program}"
        found = [
            pid
            for pid, command in self.suite.processes().items()
            if command.strip().endswith(f"-m {module}") and pid != self.second.process.pid
        ]
        if len(found) != 1:
            raise NotRecovered(f"{program} runs in {len(found)} processes")
        return found[0]

    def until_ready(self, program: str) -> None:
        port = self.second.port if program == "gateway two" else self.suite.ports[program]
        url = f"http://127.0.0.1:{port}/health/ready"
        deadline = time.monotonic() + READY_SECONDS
        while not _is_ready(url):
            if time.monotonic() > deadline:
                raise NotRecovered(f"{program} was not ready {READY_SECONDS} s later")
            time.sleep(0.05)


class NotRecovered(Exception):
    """The suite did not recover from a fault."""


@contextmanager
def scene(folder: Path, database: str, *, packets_can_be_lost: bool) -> Iterator[Scene]:
    with ExitStack() as stack:
        enter = stack.enter_context
        server = enter(support.postgresql_that_stops()) if database == "postgresql" else None
        redis = enter(support.redis_server())
        mails = enter(smtp.serving())
        disk = enter(_small_disk(folder / "disk", DISK_BYTES))
        database_disk = None if server else enter(_small_disk(folder / "database_disk", DATABASE_DISK_BYTES))
        databases = (
            enter(postgresql_databases(server.url)) if server else _files(folder / "suite", database_disk)
        )
        orders_port = support.free_port()
        targets = {"Redis": _port(redis.url), "orders": orders_port}
        targets |= {"PostgreSQL": _port(server.url)} if server else {}
        links = {name: enter(link(name, port)) for name, port in targets.items()}
        shifted = clocks(folder, CLOCKS)
        settings = {
            **_settings(databases, links, mails.port, disk),
            **settings_of_clocks(shifted),
            "ORDERS_PORT": str(orders_port),
        }
        suite = enter(running_suite(folder / "suite", settings))
        if suite.process.poll() is not None or not suite.processes():
            raise NotRecovered("the suite did not start:\n" + "\n".join(suite.lines[-20:]))
        suite.ports["orders"] = orders_port
        second = SecondGateway(suite, links["orders"], folder / "second_gateway.log")
        stack.callback(second.stop)
        direct = {name.removesuffix("_DATABASE_URL").lower(): url for name, url in databases.items()}
        found = Scene(
            *(suite, second, server, redis, links, mails, direct, disk, database_disk, shifted),
            packets_can_be_lost,
        )
        found.until_ready("gateway two")
        yield found
        for each in links.values():  # whatever happened, the suite can stop now
            each.become("good")


def _files(folder: Path, disk_of_orders: Path | None) -> dict[str, str]:
    """Return the settings of an SQLite file for each service."""
    folder.mkdir()
    files = {name: folder / f"{name}.db" for name in programs.find(ROOT) if name != programs.GATEWAY}
    if disk_of_orders is not None:
        files["orders"] = disk_of_orders / "orders.db"
    return {f"{name.upper()}_DATABASE_URL": f"sqlite:///{file}" for name, file in files.items()}


def _settings(
    databases: dict[str, str], links: dict[str, Link], smtp_port: int, disk: Path | None
) -> dict[str, str]:
    through = databases
    if "PostgreSQL" in links:
        through = {name: _replaced(url, links["PostgreSQL"].port) for name, url in databases.items()}
    small = {"FILES_DISK_RESERVE": str(DISK_RESERVE_BYTES)}
    on_disk = {} if disk is None else small | {"FILES_STORAGE_PATH": str(disk / "files")}
    return {
        **through,
        "DATABASE_POOL": str(POOL),
        "REDIS_URL": f"redis://127.0.0.1:{links['Redis'].port}/0",
        "NOTIFICATIONS_SMTP_URL": f"smtp://127.0.0.1:{smtp_port}",
        "NOTIFICATIONS_MAIL_FROM": "no-reply@example.com",
        "NOTIFICATIONS_MAIL_TIMEOUT_SECONDS": "1",  # its leases last 13 times as long
        "LOG_FORMAT": "json",
        "DRAIN_SECONDS": "5",
        **on_disk,
    }


@contextmanager
def _small_disk(folder: Path, size: int) -> Iterator[Path | None]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    with suppress(OSError):
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            try:
                yield folder
            finally:
                subprocess.run(["umount", "-l", str(folder)], check=True)
            return
    yield None


@contextmanager
def new_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gatehouse-chaos-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def kill(pid: int) -> None:
    """Kill a process and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    if not support.eventually(lambda: _is_gone(pid), seconds=30):
        raise NotRecovered(f"process {pid} could not be killed")


def _is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def _is_ready(url: str) -> bool:
    with suppress(OSError, ValueError), urllib.request.urlopen(url, timeout=2) as response:
        return bool(response.status == 200)
    return False


def _port(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


def _replaced(url: str, port: int) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}").geturl()
