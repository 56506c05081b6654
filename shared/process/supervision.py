"""Communication between a process and the launcher that started it.

The process reports the phase of its start as marked lines of its output. The launcher writes a line when the
whole suite is up, and closes the pipe when it ends.
"""

import os
import signal
import sys
import threading

SUPERVISED = "GATEHOUSE_SUPERVISED"
STARTING = "starting"  # its value while the rest of the suite is not up yet
PHASE_MARK = "\x1fphase:"
SUITE_IS_UP = b"up\n"

_suite_is_up = threading.Event()


def supervised() -> bool:
    """Whether a launcher started this process, rather than a person or a container."""
    return bool(os.environ.get(SUPERVISED))


def suite_is_starting() -> bool:
    """Whether the launcher is still waiting for other processes: those that do not answer yet are no news."""
    return os.environ.get(SUPERVISED) == STARTING and not _suite_is_up.is_set()


def report_phase(phase: str) -> None:
    """Tell the launcher what this process is doing before it can answer. Each report counts as progress."""
    if suite_is_starting():
        sys.stdout.write(f"{PHASE_MARK}{phase}\n")
        sys.stdout.flush()


def follow_parent() -> None:
    """Under a launcher, stop when it is gone, also when it was killed: its end of our stdin closes."""
    if not supervised():
        return

    def watch() -> None:
        # Not sys.stdin: a process that ends by itself could not close it while this thread is reading.
        while said := os.read(0, 1024):
            if SUITE_IS_UP in said:
                _suite_is_up.set()
        # Our output went to the launcher, and a log line that cannot be written would break what is
        # still to be answered.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.dup2(nowhere, sys.stderr.fileno())
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
