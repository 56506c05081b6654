"""Ring buffer of a shell's latest output."""

from __future__ import annotations

import re

from .wire import PIECE_BYTES

_SCREENS = re.compile(rb"\x1b\[\?(?:1049|1047|47)([hl])")
_SEQUENCE_MAX = 16


class Ring:
    """The last bytes of a stream; `base` and `head` are absolute offsets."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._bytes = bytearray()
        self._carry = b""  # the last dropped bytes, which may begin an escape sequence
        self.base = 0
        self.is_alternate_at_base = False

    @property
    def head(self) -> int:
        return self.base + len(self._bytes)

    def append(self, data: bytes) -> None:
        self._bytes += data
        surplus = len(self._bytes) - self._size
        if surplus > 0:
            self._drop(surplus)

    def _drop(self, count: int) -> None:
        """Drop the oldest bytes, noting whether the alternate screen is on at the new start."""
        dropped = self._carry + bytes(self._bytes[:count])
        for found in _SCREENS.finditer(dropped):
            self.is_alternate_at_base = found[1] == b"h"
        self._carry = dropped[-_SEQUENCE_MAX:]
        del self._bytes[:count]
        self.base += count

    def read(self, offset: int, length: int) -> bytes:
        """Read bytes at an offset; empty if the first was dropped or not printed yet."""
        if offset < self.base:
            return b""
        start = offset - self.base
        return bytes(self._bytes[start : start + min(length, PIECE_BYTES)])
