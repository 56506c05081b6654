"""Communication between a process and the launcher that started it.

The process reports its startup phase in marked lines on stdout. The launcher writes a line to the process's
stdin when the whole suite is up, or when it wants the socket on which the process listens, for its successor.
When the launcher ends, that stdin is closed.
"""

import os
import signal
import socket
import sys
import threading
from contextlib import suppress

SUPERVISED = "GATEHOUSE_SUPERVISED"
LISTEN_FD = "GATEHOUSE_LISTEN_FD"  # the file descriptor of a socket opened by the parent
STARTING = "starting"  # its value while the rest of the suite is starting
PHASE_MARK = "\x1fphase:"
SUITE_IS_UP = b"up\n"
HAND_OVER = b"hand over\n"
HANDED_OVER = b"socket"  # the answer, with the file descriptor if there is one

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


def follow_parent(listening: socket.socket | None = None) -> None:
    """Stop when the launcher is gone, even if it was killed: that closes our stdin.

    If it asks for the socket on which we listen, it gets a copy, or the answer that there is none.
    """
    if not supervised():
        return

    def watch() -> None:
        # Not sys.stdin: the process could not close it at exit while this thread is reading.
        while said := os.read(0, 1024):
            if SUITE_IS_UP in said:
                _suite_is_up.set()
            if HAND_OVER in said:
                _hand_over(listening)
        # Our output went to the launcher; a failing log line would break the requests still in flight.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.dup2(nowhere, sys.stderr.fileno())
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _hand_over(listening: socket.socket | None) -> None:
    with suppress(OSError), socket.socket(fileno=os.dup(0)) as launcher:
        if listening is None:
            launcher.sendall(HANDED_OVER)
        else:
            socket.send_fds(launcher, [HANDED_OVER], [listening.fileno()])
