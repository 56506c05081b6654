"""One process at a time: a second move, or a second upgrade, would spoil what the first one does."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path


class FileLock:
    """A file that is locked until it is released or the process ends."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Return whether the lock is ours now."""
        while True:
            descriptor = os.open(self._place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
            if self._is_in_place(descriptor):
                self._descriptor = descriptor
                return True
            os.close(descriptor)  # its holder has just removed it

    def release(self) -> None:
        if self._descriptor is not None:
            self._place.unlink(missing_ok=True)  # first, so that nobody waits for a file that is gone
            os.close(self._descriptor)
            self._descriptor = None

    def _is_in_place(self, descriptor: int) -> bool:
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(descriptor), self._place.stat())
        return False
