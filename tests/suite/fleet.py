"""The programs of a suite without a launcher, as a cluster runs them: each can be replaced by other code."""

import importlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket

from gatehouse import programs
from shared.process.server import bound_socket
from shared.process.settings import ProcessSettings
from shared.process.supervision import LISTEN_FD, PHASE_MARK, STARTING, SUITE_IS_UP, SUPERVISED
from tests import support
from tests.suite.conftest import ROOT, without_limits

START_SECONDS, STOP_SECONDS = 240, 60  # a busy machine may start all replicas at once
BACKLOG = 512


class Replica:
    """One process of a program, from the code in a folder."""

    def __init__(
        self, root: Path, module: str, environment: Mapping[str, str], shared: socket | None
    ) -> None:
        self.root, self.lines = root, list[str]()
        own = {**environment, SUPERVISED: STARTING, "LOG_FORMAT": "json"}
        files = [] if shared is None else [shared.fileno()]
        self.process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=root,
            env=own | ({} if shared is None else {LISTEN_FD: str(shared.fileno())}),
            pass_fds=files,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.decode(errors="replace").rstrip())
            if self.lines[-1] == f"{PHASE_MARK}listening":
                self._listening.set()
        self._listening.set()

    def until_listening(self) -> None:
        assert self._listening.wait(START_SECONDS), self.lines[-20:]
        assert self.process.poll() is None, self.lines[-20:]
        assert self.process.stdin is not None
        self.process.stdin.write(SUITE_IS_UP)

    def stop(self) -> None:
        self.process.terminate()
        self.close()
        assert self.process.returncode == 0, self.lines[-20:]

    def close(self) -> None:
        """Wait until the process has ended."""
        self.process.wait(STOP_SECONDS)
        self._reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@dataclass
class Fleet:
    """Every service behind a socket that all its processes accept from, and two gateways with a port each.

    As behind the address of a service in a cluster, a new process serves before the old one stops.
    """

    environment: dict[str, str]  # as for `gatehouse up`
    ports: dict[str, int]
    second_gateway_port: int
    alone: frozenset[str]  # programs of which two processes must not run side by side
    sockets: dict[str, socket] = field(default_factory=dict)
    running: dict[str, Replica] = field(default_factory=dict)

    def start(self, name: str, root: Path) -> Replica:
        """Start a process of a program; `second gateway` is a program like others."""
        program = "gateway" if "gateway" in name else name
        urls = {f"{each.upper()}_URL": f"http://127.0.0.1:{port}" for each, port in self.ports.items()}
        environment = urls | programs.own_environment(program, programs.find(ROOT), self.environment)
        if name == "second gateway":
            environment["PORT"] = str(self.second_gateway_port)
        if program == "gateway":
            environment["ROUTES_FILE"] = str(without_limits(Path(environment["DATA_DIR"]) / root.name, root))
        module = program if program == "gateway" else f"services.{program}"
        if program != "gateway" and name not in self.sockets:
            self.sockets[name] = bound_socket("127.0.0.1", self.ports[name], shared=False)
        replica = Replica(root, module, environment, self.sockets.get(name))
        self.running[name] = replica
        return replica

    def replace(self, name: str, root: Path) -> None:
        """Replace a process: start the new one first, unless the program must run alone."""
        old = self.running.get(name)
        if name in self.alone and old is not None:
            old.stop()
            old = None
        self.start(name, root).until_listening()
        if old is not None:
            old.stop()


def settings_of(module: str) -> type[ProcessSettings]:
    found: type[ProcessSettings] = importlib.import_module(f"{module}.settings").Settings
    return found


@contextmanager
def fleet(data_dir: Path, settings: Mapping[str, str], root: Path) -> Iterator[Fleet]:
    """Run all programs whose code is in the folder."""
    data_dir.mkdir(parents=True, exist_ok=True)
    modules = programs.find(ROOT)
    ports = {name: support.free_port() for name in modules}
    environment = {
        **{key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG")},
        "DATA_DIR": str(data_dir),
        "AUTH_BCRYPT_COST": "4",
        "GATEWAY_ADMIN_PORT": "0",
        **{f"{name.upper()}_PORT": str(port) for name, port in ports.items()},
        **settings,
    }
    alone = {name for name, module in modules.items() if settings_of(module).alone}
    running = Fleet(environment, ports, support.free_port(), frozenset({*alone, "second gateway"}))
    try:
        names = [*programs.find(root), "second gateway"]
        for name in names:
            running.start(name, root)
        for name in names:
            running.running[name].until_listening()
        yield running
    finally:
        for replica in running.running.values():
            replica.process.terminate()
        for replica in running.running.values():
            replica.close()
        for opened in running.sockets.values():
            opened.close()
