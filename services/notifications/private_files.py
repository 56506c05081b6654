"""A folder that stands for a provider in development, readable by the service's user alone."""

import os
import threading
from pathlib import Path
from tempfile import mkstemp

FILES_MAX = 1_000  # unauthenticated requests cause mails, and must not fill the disk


class PrivateFolder:
    """Keeps the newest files; their names begin with time-ordered ids."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self._folder, self._suffix = folder, suffix
        self._lock = threading.Lock()

    def add(self, name: str, content: bytes) -> None:
        """Write a file atomically."""
        with self._lock:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor, draft = mkstemp(dir=self._folder)
            with os.fdopen(descriptor, "wb") as handle:
                handle.write(content)
            Path(draft).rename(self._folder / f"{name}{self._suffix}")
            for old in sorted(self._folder.glob(f"*{self._suffix}"))[:-FILES_MAX]:
                old.unlink(missing_ok=True)
