"""The space of each account: measured at intervals, and reserved before anything is written.

Programs in the shells write without asking, so the figure is measured again and again. One process uses a
DATA_DIR at a time (`terminals.py`), so reservations need no database.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.terminal.errors import HomeFull
from services.terminal.workspace.walks import Usage

FRESH_SECONDS = 60.0
ACCOUNTS_MAX = 10_000  # figures kept
STOP_SHARE = 1.2  # a box is stopped at this share of the space of its home


@dataclass(slots=True)
class Room:
    """Space reserved for one change; it grows with a body of unknown length."""

    quota: "Quota"
    owner: str
    bytes: int
    entries: int
    is_kept: bool = True  # whether what was reserved counts as used after the block

    def grow(self, size: int) -> None:
        """Reserve the difference once more than the reserved bytes have arrived; raises HomeFull."""
        if size > self.bytes:
            self.quota.require(self.owner, size - self.bytes, 0)
            self.quota.reserved_bytes[self.owner] += size - self.bytes
            self.bytes = size


class Quota:
    """What the accounts use, by the last measurement and the changes since."""

    def __init__(self, bytes_max: int, entries_max: int, measure: Callable[[str], Awaitable[Usage]]) -> None:
        self.bytes_max, self.entries_max = bytes_max, entries_max
        self._measure = measure
        self._used: dict[str, tuple[float, Usage]] = {}
        self.reserved_bytes: Counter[str] = Counter()
        self._reserved_entries: Counter[str] = Counter()
        self._unlinked: dict[str, int] = {}  # bytes of deleted files that programs have open
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def usage(self, owner: str, *, fresh: bool = False) -> Usage:
        """Return what an account uses; measured now if the figure is old, or if it must be fresh."""
        async with self._locks[owner]:
            moment, used = self._used.get(owner, (-FRESH_SECONDS, Usage(0, 0)))
            if not fresh and time.monotonic() - moment < FRESH_SECONDS:
                return self._with_unlinked(owner, used)
            if len(self._used) >= ACCOUNTS_MAX:
                self._used.clear()
            used = await self._measure(owner)
            self._used[owner] = time.monotonic(), used
            return self._with_unlinked(owner, used)

    def note_unlinked(self, owner: str, size: int) -> None:
        """Count deleted files that are still open, until the next measurement."""
        if size:
            self._unlinked[owner] = size
        else:
            self._unlinked.pop(owner, None)

    def _with_unlinked(self, owner: str, used: Usage) -> Usage:
        return Usage(used.bytes + self._unlinked.get(owner, 0), used.entries)

    def _last(self, owner: str) -> Usage:
        return self._with_unlinked(owner, self._used.get(owner, (0.0, Usage(0, 0)))[1])

    @asynccontextmanager
    async def room(self, owner: str, size: int, entries: int = 1) -> AsyncIterator[Room]:
        """Reserve space until the block ends; raises HomeFull. What the block wrote then counts as used."""
        await self.usage(owner)
        self.require(owner, size, entries)
        room = Room(self, owner, size, entries)
        self.reserved_bytes[owner] += size
        self._reserved_entries[owner] += entries
        try:
            yield room
            if room.is_kept:
                self._add(owner, room)
        finally:
            self.reserved_bytes[owner] -= room.bytes
            self._reserved_entries[owner] -= room.entries
            if not self._reserved_entries[owner]:
                del self.reserved_bytes[owner], self._reserved_entries[owner]

    def require(self, owner: str, size: int, entries: int) -> None:
        used = self._last(owner)
        bytes_left = self.bytes_max - used.bytes - self.reserved_bytes[owner]
        entries_left = self.entries_max - used.entries - self._reserved_entries[owner]
        if size > bytes_left or entries > entries_left:
            raise HomeFull(
                bytes_left=max(0, bytes_left),
                entries_left=max(0, entries_left),
                bytes_max=self.bytes_max,
                entries_max=self.entries_max,
            )

    def is_over(self, used: Usage, share: float = 1.0) -> bool:
        return used.bytes > share * self.bytes_max or used.entries > share * self.entries_max

    async def require_below(self, owner: str, share: float) -> None:
        """Raise HomeFull if an account uses more than this share of its space."""
        if self.is_over(await self.usage(owner, fresh=True), share):
            raise HomeFull

    def left(self, owner: str) -> Usage:
        """Return what may still be written, without reservations."""
        used = self._last(owner)
        return Usage(self.bytes_max - used.bytes, self.entries_max - used.entries)

    def forget(self, owner: str) -> None:
        """Measure again before the next change, because much was deleted."""
        self._used.pop(owner, None)

    def _add(self, owner: str, room: Room) -> None:
        moment, used = self._used.get(owner, (0.0, Usage(0, 0)))
        self._used[owner] = moment, Usage(used.bytes + room.bytes, used.entries + room.entries)
