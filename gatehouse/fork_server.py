"""`python -m gatehouse.fork_server`: creates the processes of a suite by fork.

It imports the common modules and those of the given programs once, so that processes start in a fraction of
the time and share that memory. All imports precede the first fork: importing changes pages all over the heap,
and a page that changes after a fork exists twice. The launcher sends each order over a socket, with the stdin
and stdout of the new process and the socket that it takes over, if any, and receives every exit code.
"""

import ast
import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase as Metric

from gatehouse.starting import MESSAGE_BYTES_MAX, PROGRAMS
from shared.process.supervision import LISTEN_FD

PRELOADED = (
    "shared.service",
    "shared.lists.search",
    "contracts.events",
    "alembic.command",
    "alembic.config",
    "httpx",
    "httpcore",
    "anyio._backends._asyncio",
    "uvicorn.lifespan.on",
    "uvicorn.protocols.http.httptools_impl",
    "uvloop",
    "encodings.idna",  # by getaddrinfo
)
# httpx and structlog import these if they can, for a command and for coloured tracebacks that nobody here
# sees. They take 9 MiB, and are missing where only `requirements.lock` is installed.
DEVELOPMENT_ONLY = ("pygments", "rich")
Metrics = Mapping[str, set[Metric]]  # by program
_ARGUMENTS_START, _ARGUMENTS_END = 45, 46  # among the fields of /proc/…/stat after the name
_SET_NAME = 15  # PR_SET_NAME
_ARENA_MAX = -8  # M_ARENA_MAX


class Order(NamedTuple):
    """The module that a forked process runs, and its environment."""

    module: str
    environment: Mapping[str, str]

    def run(self, metrics: Metrics) -> None:
        """Become that program. The metrics of the others are not reported."""
        os.environ.clear()
        os.environ.update(self.environment)
        _show_as(self.module)
        sys.argv = [self.module]
        for program, collectors in metrics.items():
            for collector in collectors if program != self.module else ():
                with suppress(KeyError):  # one with labels filled in is not registered itself
                    REGISTRY.unregister(collector)
        if self.module not in metrics:
            # Find modules that were created after the fork server started as well. An imported program needs
            # none of them, and this changes a page for nearly every package.
            importlib.invalidate_caches()
        runpy.run_module(self.module, run_name="__main__", alter_sys=True)


class ForkServer:
    """The process that forks. It has one thread and no event loop, which would not survive a fork."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._woken, self._wake = socket.socketpair()
        for end in (self._woken, self._wake):
            end.setblocking(False)

    def serve(self) -> Order | None:
        """Fork until the launcher is gone. Returns an order in each forked process, and None in this one."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        while True:
            ready, _, _ = select.select([self._channel, self._woken], [], [])
            if self._woken in ready:
                self._report_ended()
            if self._channel in ready:
                message, files, _, _ = socket.recv_fds(self._channel, MESSAGE_BYTES_MAX, 3)
                if not message:
                    return None
                if (order := self._fork(json.loads(message), files)) is not None:
                    return order

    def _report_ended(self) -> None:
        with suppress(BlockingIOError):
            self._woken.recv(4096)
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                self._send({"ended": ended[0], "code": os.waitstatus_to_exitcode(ended[1])})

    def _fork(self, message: Mapping[str, Any], files: list[int]) -> Order | None:
        number = os.fork()
        if number == 0:
            self._leave(*files[:2])
            environment: dict[str, str] = message["environment"]
            if files[2:]:
                environment[LISTEN_FD] = str(files[2])
            return Order(message["module"], environment)
        for file in files:
            os.close(file)
        # The child has not been waited for yet, so its pid cannot have been reused.
        handle = os.pidfd_open(number)
        self._send({"started": number}, handle)
        os.close(handle)
        return None

    def _leave(self, stdin: int, stdout: int) -> None:
        """Set up the forked process as if it had been started on its own."""
        os.setsid()  # Ctrl-C reaches only the launcher, which stops all processes in order
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        for end in (self._channel, self._woken, self._wake):
            end.close()
        for file, places in ((stdin, (0,)), (stdout, (1, 2))):
            for place in places:
                os.dup2(file, place)
            os.close(file)

    def _send(self, message: Mapping[str, Any], *files: int) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # the launcher is gone; the next read notices
            socket.send_fds(self._channel, [json.dumps(message).encode()], files)


def _show_as(module: str) -> None:
    """Make `ps` and `top` show the name of the program instead of the fork server."""
    with suppress(OSError, ValueError, AttributeError):
        ctypes.CDLL(None).prctl(_SET_NAME, module.rpartition(".")[2].encode()[:15])
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[_ARGUMENTS_START]), int(fields[_ARGUMENTS_END])
        shown = b"\0".join([sys.executable.encode(), b"-m", module.encode()])
        if start and len(shown) < end - start:
            ctypes.memmove(start, shown.ljust(end - start, b"\0"), end - start)


def _import_for(program: str) -> None:
    """Import the `app` of a program, and what its `__main__` imports, which itself would run."""
    with suppress(Exception):  # the forked process imports it again, and reports the error
        main = find_spec(f"{program}.__main__")
        assert main is not None
        assert main.origin is not None
        for statement in ast.parse(Path(main.origin).read_text()).body:
            if isinstance(statement, ast.ImportFrom) and statement.module:
                importlib.import_module(statement.module)
        if find_spec(f"{program}.app"):
            importlib.import_module(f"{program}.app")


def _metrics_of(programs: Sequence[str]) -> Metrics:
    """Return the metrics that the modules of each program define, rather than import from `shared`."""
    found: dict[str, set[Metric]] = {owner: set() for owner in ("shared", *programs)}
    for name, module in tuple(sys.modules.items()):
        for owner, metrics in found.items():
            if name.startswith(f"{owner}."):
                metrics.update(value for value in vars(module).values() if isinstance(value, Metric))
    return {program: found[program] - found["shared"] for program in programs}


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    programs = os.environ.get(PROGRAMS, "").split()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()  # most of what is imported stays; collecting takes a fifth of the time
    modules: dict[str, Any] = sys.modules
    modules.update(dict.fromkeys(DEVELOPMENT_ONLY))  # importing them fails
    for module in PRELOADED:
        importlib.import_module(module)
    for program in programs:
        _import_for(program)
    metrics = _metrics_of(programs)
    # Garbage is kept: every process would fill the holes that it leaves, and so copy the pages around them.
    gc.freeze()
    gc.enable()
    # When a process replaces an entry, the name of the old one changes, and with it a page.
    sys._clear_type_cache()  # noqa: SLF001
    _spare_memory()
    order = ForkServer(channel).serve()
    if order is not None:
        order.run(metrics)


def _spare_memory() -> None:
    """Return free memory, and let the threads of a process share a heap: each allocates little of its own."""
    with suppress(OSError, AttributeError):  # these are functions of glibc only
        libc = ctypes.CDLL(None)
        libc.mallopt(_ARENA_MAX, 2)
        libc.malloc_trim(0)


if __name__ == "__main__":
    main()
