"""Real processes under test: their lines, their end, and nothing left behind."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from shared.testing import TEST_INTERNAL_SECRET, TEST_JWT_SECRET

SECONDS_MAX = 30.0
ROOT = Path(__file__).resolve().parents[2]


class Running:
    """A started process whose output can be waited for."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def line_with(self, text: str, *, after: int = 0) -> str:
        """The first line that holds the text, as soon as it is written."""
        with self._changed:
            self._changed.wait_for(lambda: self._find(text, after) or self._ended, SECONDS_MAX)
            found = self._find(text, after)
        assert found, f"no line with {text!r} in:\n{self.output}"
        return found

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def code(self) -> int:
        """The exit code, once it has ended and all it wrote was read."""
        code = self.process.wait(SECONDS_MAX)
        with self._changed:
            assert self._changed.wait_for(lambda: self._ended, SECONDS_MAX), "a child holds its output open"
        return code

    def read_to_the_end(self) -> None:
        self._reader.join(SECONDS_MAX)

    def _find(self, text: str, after: int) -> str | None:
        return next((line for line in self.lines[after:] if text in line), None)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                with self._changed:
                    self.lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


@contextmanager
def started(
    *arguments: str, environment: Mapping[str, str], cwd: Path = ROOT, stdin: int = subprocess.DEVNULL
) -> Iterator[Running]:
    """`python …`, with nothing in its environment but what is given and what coverage needs."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(("COVERAGE_", "PATH"))}
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env={**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environment},
        cwd=cwd,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    running = Running(process)
    try:
        yield running
    finally:
        process.kill()
        process.wait(SECONDS_MAX)
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.close()
        running.read_to_the_end()


def service_environment(folder: Path, port: int, **more: str) -> dict[str, str]:
    """What a service needs to start on its own, away from everything else."""
    return {
        "PORT": str(port),
        "DATA_DIR": str(folder),
        "JWT_SECRET": TEST_JWT_SECRET,
        "INTERNAL_SECRET": TEST_INTERNAL_SECRET,
        **more,
    }
