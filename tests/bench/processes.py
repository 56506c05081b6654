"""Processes under measurement, pinned to one core; CPU time and memory are read from the kernel."""

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gatehouse import programs
from tests.support import free_port

ROOT = Path(__file__).resolve().parents[2]
SERVER_CORE, LOAD_CORE = "0", "1"
JWT_SECRET = "5f2b8c1de04a4975b3c6a7d8e9f01234"
BCRYPT_COST = "10"
START_SECONDS = 60
SETTLE_SECONDS_MAX = 15
PROBE = "/probe"
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class Suite:
    """The suite's processes, by program name."""

    def __init__(self, data_dir: Path, backend: str) -> None:
        names = programs.find(ROOT)
        self.ports = {name: free_port() for name in names}
        started = time.monotonic()
        self._process = subprocess.Popen(
            on_core(SERVER_CORE, [sys.executable, "-m", "gatehouse", "up"]),
            cwd=ROOT,
            env={
                **os.environ,
                "DATA_DIR": str(data_dir),
                "JWT_SECRET": JWT_SECRET,
                "AUTH_BCRYPT_COST": BCRYPT_COST,
                "GATEWAY_ADMIN_PORT": "0",
                "LOG_FORMAT": "json",
                "ROUTES_FILE": str(_routes(data_dir, backend)),
                **{f"{name.upper()}_PORT": str(port) for name, port in self.ports.items()},
            },
            stdout=(data_dir / "log").open("wb"),
            stderr=subprocess.STDOUT,
        )
        for name in names:
            if not answers_in_time(self.url(name, "/health/ready"), self._process):
                self.stop()
                sys.exit(f"the suite did not start:\n{(data_dir / 'log').read_text()[-3000:]}")
        self.ready_seconds = time.monotonic() - started
        self.pids = {name: self._pid(module) for name, module in names.items()}

    def url(self, name: str, path: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}{path}"

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=60)

    def _pid(self, module: str) -> int:
        wanted = re.compile(rf"-m\0{re.escape(module)}\0+$")
        (pid,) = [pid for pid in _below(self._process.pid) if wanted.search(_command(pid))]
        return pid


def _below(pid: int) -> list[int]:
    """Return all descendants of a process."""
    children = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*children, *(each for child in children for each in _below(child))]


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


class Server:
    """One Python module that listens on a port."""

    def __init__(
        self,
        module: str,
        data_dir: Path,
        *,
        core: str = SERVER_CORE,
        port: int = 0,
        **settings: str,
    ) -> None:
        self.port = port or free_port()
        started = time.monotonic()
        self._process = subprocess.Popen(
            on_core(core, [sys.executable, "-m", module]),
            cwd=ROOT,
            env={
                **os.environ,
                "PORT": str(self.port),
                "DATA_DIR": str(data_dir),
                "JWT_SECRET": JWT_SECRET,
                "BCRYPT_COST": BCRYPT_COST,
                "DATABASE_URL": f"sqlite:///{data_dir}/peer.db",
                **settings,
            },
            stdout=subprocess.DEVNULL,
        )
        if not answers_in_time(self.url("/"), self._process):
            sys.exit(f"{module} did not start")
        self.ready_seconds = time.monotonic() - started
        self.pid = self._process.pid

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=60)


@contextmanager
def stopping(process: Suite | Server) -> Iterator[None]:
    try:
        yield
    finally:
        process.stop()


def on_core(core: str, command: list[str]) -> list[str]:
    """Pin a command to a core, if there are two to separate servers from load."""
    taskset = shutil.which("taskset")
    return [taskset, "-c", core, *command] if taskset and (os.cpu_count() or 1) > 1 else command


def cpu_seconds(pids: list[int]) -> float:
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(field[11]) + int(field[12]) for field in fields) / CLOCK_TICKS


def core_seconds(core: str) -> float:
    """Return how long a core has been busy, for all processes."""
    (line,) = re.findall(rf"^cpu{core} (.*)$", Path("/proc/stat").read_text(), re.MULTILINE)
    user, nice, system, _idle, _waiting, *interrupts = (int(field) for field in line.split()[:7])
    return (user + nice + system + sum(interrupts)) / CLOCK_TICKS


def settle(pids: list[int]) -> None:
    """Wait until the processes are idle: after the load stops, passwords may still be being hashed."""
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    spent = cpu_seconds(pids)
    while time.monotonic() < deadline:
        time.sleep(0.2)
        before, spent = spent, cpu_seconds(pids)
        if spent - before < 2 / CLOCK_TICKS:
            return


def resident_mib(pid: int) -> float:
    (kib,) = re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(kib) / 1024


def answers_in_time(url: str, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return True
        except urllib.error.HTTPError:
            return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.02)
    return False


def _routes(data_dir: Path, backend: str) -> Path:
    """Write the real routes without effective rate limits, plus one to the backend's health endpoint."""
    routes = (ROOT / "routes.yaml").read_text()
    routes = re.sub(r"rate: \d+/s, burst: \d+", "rate: 1000000/s, burst: 1000000", routes)
    health = f"  - path: {PROBE}\n    backend: {backend}\n    auth: none\n"
    file = data_dir / "routes.yaml"
    file.write_text(re.sub(r"^routes:\n", lambda line: line.group() + health, routes, flags=re.MULTILINE))
    return file
