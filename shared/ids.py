"""Identifiers: UUIDv7 as text, so that they sort by the time they were made."""

import os
import threading
import time
from uuid import UUID

_lock = threading.Lock()
_last = 0
_FRACTION_BITS = 12


def new_id() -> str:
    """Return a UUIDv7 that is greater than every other one this process has made (RFC 9562, method 3)."""
    global _last  # noqa: PLW0603 - the one piece of state that keeps ids of one process in order
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    now = milliseconds << _FRACTION_BITS | (rest << _FRACTION_BITS) // 1_000_000
    with _lock:
        _last = now = max(now, _last + 1)
    milliseconds, fraction = now >> _FRACTION_BITS, now & 0xFFF
    random = int.from_bytes(os.urandom(8)) & 0x3FFF_FFFF_FFFF_FFFF
    return str(UUID(int=milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | random))
