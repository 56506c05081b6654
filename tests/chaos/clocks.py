"""Clocks of single programs that jump, by Debian's libfaketime: only what a program reads is shifted."""

from collections.abc import Mapping
from pathlib import Path

LIBRARY = "faketime/libfaketimeMT.so.1"
CACHED_SECONDS = 1  # a program reads its shift again after this time


class Clock:
    """The clock of a program: shifted at any time, also while the program runs."""

    def __init__(self, file: Path, library: Path) -> None:
        self._file, self._library = file, library
        self.shift(0)

    def shift(self, seconds: int) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._file)

    def environment(self) -> dict[str, str]:
        """Return what a process needs to read this clock. Timeouts, which use monotonic clocks, stay true."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": str(CACHED_SECONDS),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


def clocks(folder: Path, programs: tuple[str, ...]) -> dict[str, Clock]:
    """Make a clock for each of these programs; none if libfaketime is not installed."""
    found = installed()
    return {} if found is None else {name: Clock(folder / f"clock_of_{name}", found) for name in programs}


def installed() -> Path | None:
    return next(iter(sorted(Path("/usr/lib").glob(f"*/{LIBRARY}"))), None)


def settings(made: Mapping[str, Clock]) -> dict[str, str]:
    """Return the settings of the suite that give these clocks to their programs, and to no other."""
    return {
        f"{program.upper()}_{name}": value
        for program, clock in made.items()
        for name, value in clock.environment().items()
    }
