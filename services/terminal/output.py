"""A shell's recent output, and the positions at which a replay may begin."""

import asyncio
import re
from collections import deque
from contextlib import suppress

TAIL_BYTES_MAX = 256 * 1024
COALESCE_SECONDS = 0.004
ROUNDING_SECONDS = 1e-6
AT_ONCE = 8  # pieces of a viewer that was idle; under load there is one per COALESCE_SECONDS
SEARCHED_BYTES_MAX = 64 << 20
SEQUENCE_BYTES_MAX = 4096  # real escape sequences are shorter

_SCREENS = re.compile(rb"\x1b\[\?(?:1049|1047|47)([hl])")
_STRING_STARTS = re.compile(rb"\x1b[\]PX^_]")
_STRING_ENDS = re.compile(rb"\x07|\x1b\\|\x18|\x1a")


class Pace:
    """When the next piece may be sent: echoes at once, and a stream of output in larger pieces."""

    __slots__ = ("_booked", "_typed")

    def __init__(self) -> None:
        self._booked = 0.0
        self._typed = asyncio.Event()

    def delay(self, now: float) -> float:
        """Return how many seconds to wait before the next piece."""
        delay = self._booked - (AT_ONCE - 1) * COALESCE_SECONDS - now
        return delay if delay > ROUNDING_SECONDS else 0.0

    def expect_echo(self) -> None:
        """Send the next piece at once, whatever was sent before: someone has typed."""
        self._booked = 0.0
        self._typed.set()

    async def until_due(self, now: float) -> None:
        """Wait until the next piece may be sent, or until someone types."""
        if wait := self.delay(now):
            self._typed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._typed.wait()

    def note(self, now: float) -> None:
        """Record that a piece was sent. Pieces that did not wait are not charged to those that follow."""
        self._booked = min(max(self._booked, now) + COALESCE_SECONDS, now + AT_ONCE * COALESCE_SECONDS)


class Tail:
    """The last bytes received, in pieces as they arrived."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self.start = self.end = 0

    def begin(self, offset: int) -> None:
        """Discard everything and continue at this offset."""
        self._pieces.clear()
        self.start = self.end = offset

    def append(self, offset: int, data: bytes) -> None:
        if offset != self.end:
            self.begin(offset)
        if data:
            self._pieces.append(data)
            self.end += len(data)
        while self.end - self.start > TAIL_BYTES_MAX:
            self._drop_first()

    def forget_before(self, offset: int) -> None:
        """Drop the pieces before this offset."""
        while self._pieces and self.start + len(self._pieces[0]) <= offset:
            self._drop_first()

    def _drop_first(self) -> None:
        self.start += len(self._pieces.popleft())

    def read(self, offset: int, length: int) -> bytes:
        """Read up to `length` bytes at an offset within the tail."""
        found, at = [], self.start
        for piece in self._pieces:
            if at + len(piece) > offset and at < offset + length:
                found.append(piece[max(0, offset - at) : offset + length - at])
            at += len(piece)
        return b"".join(found)


def safe_start(data: bytes, *, is_alternate: bool) -> int | None:
    """Find a position at which a terminal may start to read a stream; None if `data` has none.

    It is the start of a line, outside escape sequences and on the main screen. A terminal that starts
    elsewhere shows the tail of an escape sequence as text, or draws an editor's screen into the scrollback.
    """
    at = 0
    if is_alternate:
        leaving = next((one for one in _SCREENS.finditer(data) if one[1] == b"l"), None)
        if leaving is None:
            return None
        at = leaving.end()
    while True:
        newline = data.find(b"\n", at)
        if newline < 0:
            return None
        end = _end_of_string(data, newline)
        if end is None:
            return newline + 1
        at = end


def _end_of_string(data: bytes, place: int) -> int | None:
    """Return the end of the control string that contains this position, or None."""
    window = max(0, place - SEQUENCE_BYTES_MAX)
    starts = [one.end() for one in _STRING_STARTS.finditer(data, window, place)]
    if not starts:
        return None
    end = _STRING_ENDS.search(data, starts[-1])
    if end is None or end.start() < place or end.start() - starts[-1] > SEQUENCE_BYTES_MAX:
        return None
    return end.end()
