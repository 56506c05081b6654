"""`python -m gatehouse.fork_server`: creates the processes of a suite by fork.

It imports the common modules once, so that processes start in a fraction of the time and share that memory.
Modules of a service are imported after the fork: their metrics belong to one process only. The launcher sends
each order over a socket, with the stdin and stdout of the new process, and receives every exit code.
"""

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
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

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
)
MESSAGE_BYTES_MAX = 1 << 20
_ARGUMENTS_START, _ARGUMENTS_END = 45, 46  # among the fields of /proc/…/stat after the name
_SET_NAME = 15  # PR_SET_NAME


class Order(NamedTuple):
    """The module that a forked process runs, and its environment."""

    module: str
    environment: Mapping[str, str]

    def run(self) -> None:
        os.environ.clear()
        os.environ.update(self.environment)
        _show_as(self.module)
        sys.argv = [self.module]
        # Find modules that were created after this process started as well.
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
                message, files, _, _ = socket.recv_fds(self._channel, MESSAGE_BYTES_MAX, 2)
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
            self._leave(*files)
            return Order(message["module"], message["environment"])
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


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for module in PRELOADED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    order = ForkServer(channel).serve()
    if order is not None:
        order.run()


if __name__ == "__main__":
    main()
