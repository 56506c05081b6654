"""The progress of a move: a bar on a terminal, otherwise a line every few seconds."""

import sys
import time
from typing import TextIO

_BAR_CHARACTERS = 24
_TERMINAL_SECONDS, _LINE_SECONDS = 0.2, 5.0


class Progress:
    """Shows how many rows are done, how fast, and how long the rest will take."""

    def __init__(self, what: str, total: int, done: int = 0, out: TextIO | None = None) -> None:
        self._what, self._total, self._done, self._before = what, total, done, done
        self._out = out or sys.stderr
        self._is_terminal = self._out.isatty()
        self._started = self._shown = time.monotonic()

    def advance(self, rows: int) -> None:
        self._done += rows
        now = time.monotonic()
        if now - self._shown >= (_TERMINAL_SECONDS if self._is_terminal else _LINE_SECONDS):
            self._shown = now
            self._put(self.line(now - self._started), "\r" if self._is_terminal else "\n")

    def end(self) -> None:
        self._put(self.line(time.monotonic() - self._started), "\n")

    def line(self, seconds: float) -> str:
        """Return the line after this time; rows of an earlier run do not count for the speed."""
        share = min(1.0, self._done / self._total) if self._total else 1.0
        full = round(share * _BAR_CHARACTERS)
        speed = (self._done - self._before) / seconds if seconds > 0 else 0.0
        left = f", {(self._total - self._done) / speed:,.0f} s left" if speed and share < 1 else ""
        bar = "#" * full + "." * (_BAR_CHARACTERS - full)
        return f"{self._what} [{bar}] {self._done:,} of {self._total:,} rows, {speed:,.0f} rows/s{left}"

    def _put(self, line: str, end: str) -> None:
        clear = "\x1b[K" if self._is_terminal else ""
        self._out.write(f"{line}{clear}{end}")
        self._out.flush()
