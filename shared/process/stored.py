"""Folders with the data of a service, and holds on them.

While a backup holds a folder, its service removes nothing from it that may still have to be copied. A hold
expires by itself, so a killed backup stops nothing for long.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

HOLD_PREFIX = ".backup-in-progress-"
REFRESH_SECONDS = 5.0
EXPIRES_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class StoredFolder:
    """A folder that backups contain."""

    name: str
    path: Path
    # Whether people create files in it as they like: one that cannot be copied then stops no backup.
    is_of_people: bool = False


class Hold:
    """One backup's hold on a folder."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / f"{HOLD_PREFIX}{uuid4().hex}"
        for old in _holds(folder):
            if not _is_recent(old):
                old.unlink(missing_ok=True)

    def extend(self) -> None:
        """Begin the hold, or extend it."""
        with suppress(OSError):
            self._file.touch(mode=0o600)

    def end(self) -> None:
        self._file.unlink(missing_ok=True)


def is_held(folder: Path) -> bool:
    return any(_is_recent(file) for file in _holds(folder))


def _holds(folder: Path) -> Iterator[Path]:
    return folder.glob(f"{HOLD_PREFIX}*")


def _is_recent(file: Path) -> bool:
    try:
        return abs(time.time() - file.stat().st_mtime) < EXPIRES_SECONDS
    except OSError:
        return False
