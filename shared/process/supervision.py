"""Communication between a process and the launcher that started it.

The process reports its startup phase in marked lines on stdout. The launcher writes a line to the process's
stdin when the whole suite is up, and closes that pipe when it ends.
"""

import os
import signal
import sys
import threading

SUPERVISED = "GATEHOUSE_SUPERVISED"
STARTING = "starting"  # its value while the rest of the suite is starting
PHASE_MARK = "\x1fphase:"
SUITE_IS_UP = b"up\n"

_suite_is_up = threading.Event()


def supervised() -> bool:
    """Whether the launcher started this process, rather than a person or a container."""
    return bool(os.environ.get(SUPERVISED))


def suite_is_starting() -> bool:
    """Whether other processes are still starting, so that their silence need not be reported."""
    return os.environ.get(SUPERVISED) == STARTING and not _suite_is_up.is_set()


def report_phase(phase: str) -> None:
    """Tell the launcher what this process is doing before it listens. Each report counts as progress."""
    if suite_is_starting():
        sys.stdout.write(f"{PHASE_MARK}{phase}\n")
        sys.stdout.flush()


def follow_parent() -> None:
    """Stop when the launcher is gone, even if it was killed: that closes our stdin."""
    if not supervised():
        return

    def watch() -> None:
        # Not sys.stdin: the process could not close it at exit while this thread is reading.
        while said := os.read(0, 1024):
            if SUITE_IS_UP in said:
                _suite_is_up.set()
        # Our output went to the launcher; a failing log line would break the requests still in flight.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.dup2(nowhere, sys.stderr.fileno())
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
