"""A mark beside a SQLite file that pauses writes while the data moves to another database, and afterwards.

PostgreSQL needs no mark: there the role's transactions are read-only by default.
"""

import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

READ_ONLY = "25006"  # PostgreSQL's error code for a write in a read-only transaction


def pause(file: Path) -> None:
    """Refuse writes to this database from now on, in all processes."""
    descriptor = os.open(_mark(file), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as mark:
        mark.write(_identity(file))


def resume(file: Path) -> None:
    _mark(file).unlink(missing_ok=True)


def is_paused(file: Path) -> bool:
    """Whether writes are paused. The mark does not count for a file that has replaced the one it was for."""
    mark = _mark(file)
    if not os.path.exists(mark):  # noqa: PTH110 - half the cost, in every transaction
        return False
    with suppress(OSError):
        return mark.read_text() in ("", _identity(file))  # it is empty for a moment while it is written
    return False


@lru_cache(maxsize=64)  # every write asks twice
def _mark(file: Path) -> Path:
    return file.with_name(f"{file.name}.paused")


def _identity(file: Path) -> str:
    return str(file.stat().st_ino)
