"""The age and size of the newest backup. The gateway shows them, because every suite has a gateway.

The folder itself is the truth: a name appears in it only when a backup is complete, whoever took it.
"""

import asyncio
from pathlib import Path

from prometheus_client import Gauge

from shared.process.backups import FOLDER, backups_in, size_of

TAKEN = Gauge(
    "backup_last_success_timestamp_seconds",
    "When the newest backup of all services was taken; 0 if there is none in BACKUP_DIR",
    ["folder"],
    multiprocess_mode="livemax",
)
SIZE = Gauge(
    "backup_size_bytes", "Size of the newest backup of all services", ["folder"], multiprocess_mode="livemax"
)


class NewestBackup:
    """Notes the newest backup in BACKUP_DIR, or in `backups` if there is such a folder."""

    def __init__(self, folder: Path | None) -> None:
        self._folder, self._is_expected = folder or FOLDER, folder is not None

    async def look(self) -> None:
        await asyncio.to_thread(self.look_now)

    def look_now(self) -> None:
        """Set the gauges. Without a folder there is nothing to show."""
        found = backups_in(self._folder)
        if found or self._is_expected:
            TAKEN.labels(str(self._folder)).set(found[0].taken.timestamp() if found else 0.0)
            SIZE.labels(str(self._folder)).set((size_of(found[0]) or 0) if found else 0)
