"""The file that LOG_FILE names: one writer, bounded in size, compatible with logrotate."""

import os
import time
from contextlib import suppress
from pathlib import Path

LOOK_SECONDS = 1.0


class LogFile:
    """Appends lines to a file. At the size limit it is renamed to `name.1`, and an old `name.1` to `name.2`.

    If another program such as logrotate moves it away, it is created again within a second, without a signal.
    """

    def __init__(self, path: Path, bytes_max: int, kept: int) -> None:
        self.path = path
        self._bytes_max = bytes_max
        self._kept = kept
        self._file = -1
        self._size = 0
        self._look_at = 0.0
        self._open()

    def write(self, line: str) -> None:
        """Write a line at once; it is dropped if that fails, for example on a full disk."""
        data = line.encode(errors="replace") + b"\n"
        with suppress(OSError):
            if time.monotonic() >= self._look_at:
                self._open_again_if_moved()
            if self._size and self._size + len(data) > self._bytes_max:
                self._rotate()
            self._size += os.write(self._file, data)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        opened = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.close()
        self._file = opened
        self._size = os.fstat(opened).st_size
        self._look_at = time.monotonic() + LOOK_SECONDS

    def _open_again_if_moved(self) -> None:
        self._look_at = time.monotonic() + LOOK_SECONDS
        with suppress(FileNotFoundError):
            there = self.path.stat()
            ours = os.fstat(self._file)
            if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                self._size = ours.st_size  # smaller if the file was truncated
                return
        self._open()

    def _rotate(self) -> None:
        for number in range(self._kept, 0, -1):
            source = self._numbered(number - 1)
            if source.exists():
                source.replace(self._numbered(number))
        if self._kept == 0:
            self.path.unlink(missing_ok=True)
        self._open()

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}") if number else self.path
