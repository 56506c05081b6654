"""The whole suite as a user starts it: real processes and ports, with its own data directory."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gatehouse import programs
from shared.ids import new_id
from tests import databases, support
from tests.terminal.support import kill_holders

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60
STOP_SECONDS = 35


class Suite:
    """A running suite; `lines` is its terminal output."""

    def __init__(
        self,
        data_dir: Path,
        settings: dict[str, str],
        *,
        command: Sequence[str] = (sys.executable, "-m", "gatehouse", "up"),
        cwd: Path = ROOT,
        start_seconds: float = START_SECONDS,
    ) -> None:
        self.data_dir = data_dir
        self.ports = {name: support.free_port() for name in programs.find(ROOT)}
        self.url = f"http://127.0.0.1:{self.ports['gateway']}"
        self.lines: list[str] = []
        self._ready = threading.Event()
        ports = {f"{name.upper()}_PORT": str(port) for name, port in self.ports.items()}
        if cwd == ROOT:  # a suite in a new clone creates its own databases
            _make_databases(data_dir, settings)
        self.environment = {
            **{key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG")},
            "DATA_DIR": str(data_dir),
            "AUTH_BCRYPT_COST": "4",
            "GATEWAY_ADMIN_PORT": "0",
            "ROUTES_FILE": str(_without_limits(data_dir)),
            **ports,
            **settings,
        }
        self.process = subprocess.Popen(
            [*command],
            cwd=cwd,
            start_new_session=True,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        if not self._ready.wait(start_seconds) or self.process.poll() is not None:
            self.kill()
            pytest.fail("the suite did not start:\n" + "\n".join(self.lines[-40:]))

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if '"service":"gatehouse","event":"ready"' in line:
                self._ready.set()
        self._ready.set()

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Stop the suite like Ctrl-C does; return the exit code."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)  # like a terminal: to all processes, those of `make` included
        code = self.process.wait(STOP_SECONDS)
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()

    def processes(self) -> dict[int, str]:
        """Find all processes of this suite by the DATA_DIR in their environment."""
        marker = f"DATA_DIR={self.data_dir}".encode()
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if marker in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
            except OSError:  # ended meanwhile, or not readable
                continue
        return found

    def pid_of(self, module: str) -> int:
        wanted = re.compile(rf"-m {re.escape(module)}\s*$")
        (pid,) = [pid for pid, command in self.processes().items() if wanted.search(command.strip())]
        return pid

    def environment_of(self, name: str) -> dict[str, str]:
        """Return the environment of a program, without the variables that describe the launcher."""
        addresses = {f"{each.upper()}_URL": f"http://127.0.0.1:{port}" for each, port in self.ports.items()}
        return addresses | programs.own_environment(name, programs.find(ROOT), self.environment)

    def client(self, **options: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=30, **options)


def _make_databases(data_dir: Path, settings: dict[str, str]) -> None:
    for name in programs.find(ROOT).keys() - {programs.GATEWAY}:
        url = settings.get(f"{name.upper()}_DATABASE_URL", f"sqlite:///{data_dir}/{name}.db")
        databases.migrate(url, ROOT / "services" / name / "migrations")


def _without_limits(data_dir: Path) -> Path:
    """Write the real routes with rate limits that no test reaches; tests/gateway tests the limits."""
    data_dir.mkdir(parents=True, exist_ok=True)
    file = data_dir / "routes.yaml"
    limits = re.compile(r"rate: \d+/s, burst: \d+")
    file.write_text(limits.sub("rate: 100000/s, burst: 100000", (ROOT / "routes.yaml").read_text()))
    return file


@contextmanager
def running_suite(data_dir: Path, settings: dict[str, str] | None = None, **options: Any) -> Iterator[Suite]:
    suite = Suite(data_dir, settings or {}, **options)
    try:
        yield suite
    finally:
        try:
            suite.stop()
        finally:
            kill_holders(data_dir)


@contextmanager
def postgresql_databases(server: str) -> Iterator[dict[str, str]]:
    """Create one empty database per service; yields the settings that point to them."""
    created: dict[str, str] = {}
    names = [name for name in programs.find(ROOT) if name != programs.GATEWAY]
    prefix = f"suite_{new_id()[-12:]}"
    with ExitStack() as stack:
        for name in names:
            url = stack.enter_context(support.new_database(server, f"{prefix}_{name}"))
            created[f"{name.upper()}_DATABASE_URL"] = url
        yield created


# Package scope, not session scope: six idle processes would take a tenth of a core from other tests.
@pytest.fixture(scope="package")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """One suite on SQLite, shared by tests that leave all processes healthy: a start takes 9 s of CPU."""
    with running_suite(tmp_path_factory.mktemp("suite")) as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"], scope="package")
def each_suite(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """The suite on SQLite, then on PostgreSQL."""
    if request.param == "sqlite":
        yield request.getfixturevalue("suite")
        return
    server = request.getfixturevalue("postgresql_server")
    with (
        postgresql_databases(server) as settings,
        running_suite(tmp_path_factory.mktemp("postgresql"), settings) as running,
    ):
        yield running


@pytest.fixture
def own_suite(tmp_path: Path) -> Iterator[Suite]:
    """A private suite, for a test that breaks things."""
    with running_suite(tmp_path) as running:
        yield running
