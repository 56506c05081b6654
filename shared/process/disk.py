"""A reserve of free disk space: new content is refused, with an explanation, before the disk is full.

Uploads stop at the reserve, writes to a SQLite file at half of it, so that uploads cannot prevent users
from signing in. Reading and deleting still work.
"""

import math
import os
from pathlib import Path

from prometheus_client import Gauge

from shared.errors import DiskFull
from shared.process.settings import ServiceSettings

MIB = 1 << 20
RESERVE_MIN, RESERVE_MAX = 256 * MIB, 4096 * MIB
RESERVE_SHARE = 50  # the reserve is the size of the file system divided by this

FREE = Gauge("disk_free_bytes", "Free bytes on the disk", ["holds"], multiprocess_mode="livemin")
RESERVE = Gauge(
    "disk_reserve_bytes",
    "Free bytes below which new content is refused",
    ["holds"],
    multiprocess_mode="livemax",
)


class Disk:
    """The file system that holds one folder."""

    def __init__(self, holds: str, folder: Path, reserve: int | None) -> None:
        self.holds = holds
        self._folder = folder.absolute()
        while not self._folder.exists():  # created on first use
            self._folder = self._folder.parent
        found = os.statvfs(self._folder)
        share = found.f_blocks * found.f_frsize // RESERVE_SHARE
        self.reserve = min(max(share, RESERVE_MIN), RESERVE_MAX) if reserve is None else reserve
        FREE.labels(holds).set_function(self.free)
        RESERVE.labels(holds).set(self.reserve)

    @classmethod
    def of_database(cls, settings: ServiceSettings) -> "Disk | None":
        """Return the disk of the SQLite file; PostgreSQL manages its own."""
        file = settings.sqlite_file()
        return None if file is None else cls("database", file.parent, settings.disk_reserve)

    def free(self) -> float:
        """Return free bytes; infinite if the folder is gone, which opening a file there reports better."""
        try:
            found = os.statvfs(self._folder)
        except OSError:
            return math.inf
        return found.f_bavail * found.f_frsize

    @property
    def state(self) -> str:
        free = self.free()
        if free == math.inf:
            return "gone"
        return "up" if free >= self.reserve else "low" if free >= self.reserve // 2 else "full"

    def require_room(self, size: int = 0) -> None:
        """Refuse content of this size if it would cut into the reserve."""
        if self.free() - size < self.reserve:
            raise DiskFull

    def require_writable(self) -> None:
        """Refuse database writes once half of the reserve is used up."""
        if self.free() < self.reserve // 2:
            raise DiskFull
