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
from tests.halves import DATABASES
from tests.terminal.support import kill_holders

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
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
            "ROUTES_FILE": str(without_limits(data_dir)),
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


def without_limits(data_dir: Path, root: Path = ROOT) -> Path:
    """Write the real routes with rate limits that no test reaches; tests/gateway tests the limits."""
    data_dir.mkdir(parents=True, exist_ok=True)
    file = data_dir / "routes.yaml"
    limits = re.compile(r"rate: \d+/s, burst: \d+")
    file.write_text(limits.sub("rate: 100000/s, burst: 100000", (root / "routes.yaml").read_text()))
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


ORDER = ("postgresql", "sqlite", None)  # by the database of the suite that a test shares with others
_running: dict[str, tuple[Suite, ExitStack]] = {}  # the suites that tests share, by database


@pytest.fixture(scope="package")
def shared_suites() -> Iterator[None]:
    yield
    _end_shared_suites_except(None)


@pytest.fixture
def suite(shared_suites: None, tmp_path_factory: pytest.TempPathFactory) -> Suite:
    """One suite on SQLite, shared by tests that leave all processes healthy: a start takes 5 s of CPU."""
    return _shared("sqlite", tmp_path_factory)


@pytest.fixture(params=DATABASES)
def each_suite(
    request: pytest.FixtureRequest, shared_suites: None, tmp_path_factory: pytest.TempPathFactory
) -> Suite:
    """The suite on SQLite, and one on PostgreSQL."""
    server = request.getfixturevalue("postgresql_server") if request.param == "postgresql" else None
    return _shared(request.param, tmp_path_factory, server)


def _shared(database: str, folders: pytest.TempPathFactory, server: str | None = None) -> Suite:
    if database not in _running:
        with ExitStack() as stack:
            settings = stack.enter_context(postgresql_databases(server)) if server else {}
            running = stack.enter_context(running_suite(folders.mktemp(database), settings))
            _running[database] = running, stack.pop_all()
    return _running[database][0]


def _end_shared_suites_except(database: str | None) -> None:
    for other in _running.keys() - {database}:
        _running.pop(other)[1].close()


def shared_by(item: pytest.Item | None) -> str | None:
    """Return the database of the shared suite that a test uses."""
    names = item.fixturenames if isinstance(item, pytest.Function) else ()
    if "each_suite" in names:
        assert isinstance(item, pytest.Function)
        return str(item.callspec.params["each_suite"])
    return "sqlite" if "suite" in names else None


@pytest.hookimpl(trylast=True)  # after pytest has grouped the tests by their fixtures
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests that share a suite one after another, and then those that start suites of their own."""
    places = [place for place, item in enumerate(items) if FOLDER in item.path.parents]
    ours = sorted((items[place] for place in places), key=lambda item: ORDER.index(shared_by(item)))
    for place, item in zip(places, ours, strict=True):
        items[place] = item


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> Iterator[None]:
    """End a shared suite before a test that does not use it: idle, it takes a twentieth of a core."""
    yield
    _end_shared_suites_except(shared_by(nextitem))


@pytest.fixture
def own_suite(tmp_path: Path) -> Iterator[Suite]:
    """A private suite, for a test that breaks things."""
    with running_suite(tmp_path) as running:
        yield running
