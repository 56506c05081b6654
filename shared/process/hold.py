"""A hold on a folder: while a backup reads it, its service removes nothing that it may still copy.

A hold expires by itself, so a killed backup stops nothing for long.
"""

import time
from contextlib import suppress
from pathlib import Path

HOLD_FILE = ".backup-in-progress"
REFRESH_SECONDS = 5.0
EXPIRES_SECONDS = 60.0


def hold(folder: Path) -> None:
    """Begin or extend a hold."""
    with suppress(OSError):
        (folder / HOLD_FILE).touch(mode=0o600)


def is_held(folder: Path) -> bool:
    try:
        touched = (folder / HOLD_FILE).stat().st_mtime
    except OSError:
        return False
    return abs(time.time() - touched) < EXPIRES_SECONDS
