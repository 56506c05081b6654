"""Identifiers: UUIDv7 as text, sortable by creation time."""

import os
import threading
import time
from datetime import UTC, datetime, timedelta

_FRACTION_BITS = 12
_VARIANT = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
_DRAWN_AT_ONCE = 128  # one system call per id would cost more than everything else

_lock = threading.Lock()
_last = 0
_ends: list[str] = []
os.register_at_fork(after_in_child=_ends.clear)  # otherwise parent and child would make the same ids


def new_id() -> str:
    """Return a UUIDv7 greater than every earlier one of this process (RFC 9562, method 3)."""
    global _last  # noqa: PLW0603 - keeps the ids of one process in order
    now = (time.time_ns() << _FRACTION_BITS) // 1_000_000  # milliseconds, with a 12-bit fraction
    with _lock:
        if now <= _last:
            now = _last + 1
        _last = now
        if not _ends:
            _ends.extend(_random_ends())
        end = _ends.pop()
    start = f"{now:015x}"
    return f"{start[:8]}-{start[8:12]}-7{start[12:]}-{end}"


def first_id(moment: datetime, apart: timedelta = timedelta(0)) -> str:
    """Return the smallest id for this timestamp plus `apart`."""
    milliseconds = max(0, int(moment.timestamp() * 1000) + int(apart.total_seconds() * 1000))
    digits = f"{milliseconds:012x}"
    return f"{digits[:8]}-{digits[8:12]}-7000-8000-000000000000"


def moment_of(time_ordered_id: str) -> datetime:
    """Return the time in an id: what `first_id` has put there."""
    return datetime.fromtimestamp(int(time_ordered_id[:8] + time_ordered_id[9:13], 16) / 1000, UTC)


def _random_ends() -> list[str]:
    """Return random endings for ids: two variant bits and 62 random bits."""
    digits = os.urandom(8 * _DRAWN_AT_ONCE).hex()
    return [
        f"{_VARIANT[digits[start]]}{digits[start + 1 : start + 4]}-{digits[start + 4 : start + 16]}"
        for start in range(0, len(digits), 16)
    ]
