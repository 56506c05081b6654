"""`python tests/watchdog.py`: ends what a test run has started when that run is gone, even if it was killed.

Otherwise a killed run would leave whole suites of services behind, which use ports and memory for ever. Linux
only. The run writes each process that it starts to our stdin, which ends with the run. Nothing is imported
from the project, so that this starts in milliseconds.
"""

import os
import select
import signal
import struct
import subprocess
import sys
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

_STARTED = struct.Struct("=iQ")  # pid and start time, because a pid may be used again
_READ_BYTES = 1024 * _STARTED.size  # whole messages: a pipe does not split writes as short as these
_PARENT, _START_TIME = 1, 19  # among the fields of /proc/…/stat after the name
_pipes: list[int] = []  # to our watchdog, if we have one


def guard() -> None:
    """Ensure that all processes that this one starts end with it."""
    if sys.platform != "linux":
        return
    reading, writing = os.pipe()
    os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-S", __file__],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, reading, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        ],
        setsid=True,  # Ctrl-C and signals to the group of the run do not reach it
    )
    os.close(reading)
    start = subprocess.Popen.__init__

    @wraps(start)
    def start_guarded(self: "subprocess.Popen[Any]", *arguments: Any, **options: Any) -> None:
        start(self, *arguments, **options)
        end_with_run(self.pid)

    _pipes.append(writing)
    setattr(subprocess.Popen, "__init__", start_guarded)  # noqa: B010 - mypy forbids the assignment


def end_with_run(pid: int) -> None:
    """Register a process that another of our processes has started for us, such as a fork server."""
    for pipe in _pipes:
        if (started := stat(pid, _START_TIME)) is not None:
            os.write(pipe, _STARTED.pack(pid, started))


def watch() -> dict[int, int]:
    """Wait until the run has ended; return handles of the processes that it has left behind, by pid."""
    handles: dict[int, int] = {}
    while messages := os.read(0, _READ_BYTES):
        for pid, started in _STARTED.iter_unpack(messages):
            with suppress(OSError):  # it has ended already
                handle = os.pidfd_open(pid)
                if stat(pid, _START_TIME) == started:
                    handles[pid] = handle
                else:
                    os.close(handle)
        ended, _, _ = select.select([*handles.values()], [], [], 0)
        for pid in [pid for pid, handle in handles.items() if handle in ended]:
            os.close(handles.pop(pid))
    return handles


def stat(pid: int, field: int) -> int | None:
    """Return a number from /proc about a process; None if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[field])
    except OSError:
        return None


def end(handles: dict[int, int]) -> None:
    """End these processes and all their descendants, including stopped ones."""
    every = [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]
    above, ending = {pid: stat(pid, _PARENT) for pid in every}, {*handles}
    while more := {pid for pid, parent in above.items() if parent in ending} - ending:
        ending |= more
    for pid in ending - {*handles}:
        with suppress(OSError):
            handles[pid] = os.pidfd_open(pid)
    for pid, handle in handles.items():
        with suppress(OSError):
            # PostgreSQL would leave its shared memory behind if it were killed.
            is_postgresql = Path(f"/proc/{pid}/comm").read_text() == "postgres\n"
            signal.pidfd_send_signal(handle, signal.SIGQUIT if is_postgresql else signal.SIGKILL)


if __name__ == "__main__":
    end(watch())
