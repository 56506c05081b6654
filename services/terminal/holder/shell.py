"""A shell on its own pseudo-terminal."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import struct
import termios
import time
from contextlib import suppress
from typing import Any, Iterator  # noqa: UP035 - Python 3.9

from .wire import PIECE_BYTES

PENDING_INPUT_MAX = 1024 * 1024
SHORT_BYTES = 1024


class Shell:
    """A process that leads a session on its own pseudo-terminal."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.started = time.monotonic()
        self.rows, self.columns = int(config["rows"]), int(config["columns"])
        self.master, slave = os.openpty()
        self._set_size()  # before the first prompt
        self.pid = os.fork()
        if self.pid == 0:
            _become_shell(slave, config)
        os.close(slave)
        os.set_blocking(self.master, False)
        self.pending = bytearray()  # input that the terminal has not accepted yet
        self.status: int | None = None

    def _set_size(self) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", self.rows, self.columns, 0, 0))

    def resize(self, rows: int, columns: int) -> None:
        self.rows, self.columns = rows, columns
        self._set_size()

    def read(self) -> bytes | None:
        """Read the available output; None at the end."""
        parts: list[bytes] = []
        size = 0
        while size < PIECE_BYTES:
            try:
                part = os.read(self.master, PIECE_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                part = b""
            if not part:
                return b"".join(parts) or None
            parts.append(part)
            size += len(part)
            if len(part) < SHORT_BYTES:  # most likely there is no more, as after a key
                break
        return b"".join(parts)

    def write(self, data: bytes) -> bool:
        """Queue input; return False if the queue is full."""
        if len(self.pending) + len(data) > PENDING_INPUT_MAX:
            return False
        self.pending += data
        self.flush()
        return True

    def flush(self) -> None:
        with suppress(BlockingIOError):
            while self.pending:
                del self.pending[: os.write(self.master, self.pending[:4096])]

    def reap(self) -> None:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = status if pid else None

    def _members(self) -> dict[int, int]:
        """Return the processes of the session, each with its group.

        If the pid of the reaped shell is in use, no process of the session is left: the pid is kept until
        then.
        """
        found = dict(_session_members(self.pid))
        if self.status is None:
            return {self.pid: self.pid, **found}
        return {} if self.pid in found else found

    @property
    def foreground(self) -> int:
        """The foreground process group, which receives Ctrl-C."""
        try:
            return os.tcgetpgrp(self.master) or self.pid
        except OSError:
            return self.pid

    def signal(self, number: int) -> None:
        self._signal_groups({self.foreground}, number)

    def hang_up(self) -> None:
        self._signal_groups({self.pid, self.foreground}, signal.SIGHUP, signal.SIGCONT)

    def _signal_groups(self, groups: set[int], *numbers: int) -> None:
        """Signal those groups that still have a process; the others' numbers may have been reused."""
        for group in groups.intersection(self._members().values()):
            for number in numbers:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(group, number)

    def kill(self) -> None:
        """Kill every process of the session, in all process groups."""
        for pid in self._members():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def has_jobs(self) -> bool:
        """Whether processes of the session are running besides the shell."""
        return any(pid != self.pid for pid in self._members())

    def state(self) -> dict[str, str]:
        """Return the working directory and the foreground command; empty if unavailable."""
        state = {"directory": "", "command": ""}
        with suppress(OSError):
            state["directory"] = os.readlink(f"/proc/{self.pid}/cwd")[:1024]
        with suppress(OSError), open(f"/proc/{self.foreground}/comm", "rb") as file:
            state["command"] = file.read(64).decode("utf-8", "replace").strip()
        return state


def _become_shell(slave: int, config: dict[str, Any]) -> None:
    try:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for descriptor in (0, 1, 2):
            os.dup2(slave, descriptor)
        os.closerange(3, 4096)
        for number in (signal.SIGPIPE, signal.SIGHUP, signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.umask(0o077)
        for name, value in config.get("limits", {}).items():
            kind = getattr(resource, f"RLIMIT_{name.upper()}")
            hard = resource.getrlimit(kind)[1]
            wanted = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (wanted, wanted))
        os.nice(int(config.get("nice", 0)))
        with suppress(OSError), open("/proc/self/oom_score_adj", "r+") as file:
            adjusted = min(
                1000, int(file.read()) + 200
            )  # out of memory, programs are killed before the holder
            file.seek(0)
            file.write(str(adjusted))
        os.chdir(config["directory"])
        argv = config["argv"]
        os.execve(argv[0], argv, config["environment"])  # noqa: S606 - a shell is the point
    except BaseException as error:  # noqa: BLE001 - shown in the terminal
        os.write(2, f"The shell could not be started: {error}\r\n".encode())
    os._exit(127)


def _session_members(session: int) -> Iterator[tuple[int, int]]:
    """Yield the processes of a session, each with its group."""
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit():
            with suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat", "rb") as file:
                # After the name in parentheses: state, parent, group, session.
                group, of = map(int, file.read().rpartition(b")")[2].split()[2:4])
                if of == session:
                    yield int(name), group
