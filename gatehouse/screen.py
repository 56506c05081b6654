"""The output of `gatehouse up`: text for people, one JSON object per line for programs, and the log file."""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from itertools import cycle
from typing import Any

from gatehouse.logfile import LogFile
from shared.clock import timestamp

OURS = "gatehouse"
_COLOURS = cycle(("36", "33", "32", "35", "34", "31", "96", "93", "92"))


class Screen:
    """Writes to standard output; with a log file, program output goes only to the file."""

    def __init__(self, *, as_json: bool, log_file: LogFile | None = None, width: int = 0) -> None:
        self._as_json = as_json
        self._log_file = log_file
        self._width = width
        self._is_terminal = sys.stdout.isatty()
        self._colours: dict[str, str] = {}
        self._status_lines = 0

    def pass_on(self, program: str, line: str) -> None:
        """Pass on a line that a program wrote."""
        if self._log_file is not None:
            self._log_file.write(_as_json(program, line))
        elif self._as_json:
            self._write(_as_json(program, line))
        else:
            # A JSON line names its service already, and must stay valid JSON.
            self._write(line if line.startswith("{") else f"{self._prefix(program)}{line}")

    def say(self, event: str, words: str, *, program: str = "", level: str = "info", **fields: Any) -> None:
        """Write a line of the launcher itself: `words` for people, the rest for programs."""
        named = {"program": program} if program else {}
        entry = _entry(OURS, event, level, **named, **fields)
        if self._log_file is not None:
            self._log_file.write(entry)
        self._write(entry if self._as_json else f"{self._prefix(program)}{words}" if program else words)

    @property
    def redraws(self) -> bool:
        """Whether the output is a terminal, on which the status can stay below everything else."""
        return self._is_terminal and not self._as_json

    def show_status(self, lines: Sequence[tuple[str, str]]) -> None:
        """Replace the status on a terminal."""
        width = shutil.get_terminal_size().columns - self._width - 4
        shown = [f"{self._prefix(program)}{words[: max(20, width)]}\n" for program, words in lines]
        _put(f"{self._wiping()}{''.join(shown)}")
        self._status_lines = len(shown)

    def _wiping(self) -> str:
        """Return the control sequence that removes the status from the terminal."""
        lines, self._status_lines = self._status_lines, 0
        return f"\x1b[{lines}A\x1b[J" if lines else ""

    def _write(self, line: str) -> None:
        _put(f"{self._wiping()}{line}\n")  # the status is redrawn below it at the next check

    def _prefix(self, program: str) -> str:
        name = f"{program:<{self._width}}"
        if not self._is_terminal:
            return f"{name} | "
        if program not in self._colours:
            self._colours[program] = next(_COLOURS)
        return f"\x1b[{self._colours[program]}m{name}\x1b[0m │ "


def _put(text: str) -> None:
    """Write if possible: without a reader, or on a full disk, the suite keeps running and can be stopped."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # Otherwise flushing the buffer would fail again when the process exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError:
        pass


def _as_json(program: str, line: str) -> str:
    """Return a JSON line unchanged; wrap any other, such as Python's own output, in an event."""
    if line.startswith('{"') and line.endswith("}"):
        return line
    return _entry(program, "output", "warning", text=line)


def _entry(service: str, event: str, level: str, **fields: Any) -> str:
    entry = {"service": service, "event": event, "level": level, "timestamp": timestamp(), **fields}
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":"))
