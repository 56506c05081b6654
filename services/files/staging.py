"""Bytes on their way in: a folder of files that are not blobs yet."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.files.disk import sync_folder
from services.files.media_types import SNIFFED_BYTES


@dataclass(frozen=True, slots=True)
class Landed:
    """What the bytes of a staged file say, once all of them are there."""

    size: int
    sha256: str
    head: bytes


class StagedFile:
    """A file that grows while its bytes arrive; its hash grows with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size = 0
        self._head = b""
        self._hash = hashlib.sha256()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._handle = os.fdopen(descriptor, "wb", buffering=0)

    def write(self, pieces: Sequence[bytes]) -> None:
        data = b"".join(pieces)
        if len(self._head) < SNIFFED_BYTES:
            self._head += data[: SNIFFED_BYTES - len(self._head)]
        rest = memoryview(data)
        while rest:
            rest = rest[self._handle.write(rest) :]
        self._hash.update(data)
        self._size += len(data)

    def finish(self) -> Landed:
        """Make it survive a power cut."""
        os.fsync(self._handle.fileno())
        self._handle.close()
        return Landed(self._size, self._hash.hexdigest(), self._head)

    def discard(self) -> None:
        self._handle.close()
        self.path.unlink(missing_ok=True)


class Staging:
    """The folder. A file in it has the key of the blob that it is to become."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        sync_folder(folder.parent)

    def create(self, key: str) -> StagedFile:
        return StagedFile(self.path(key))

    def path(self, key: str) -> Path:
        return self._folder / key

    def discard(self, key: str) -> None:
        self.path(key).unlink(missing_ok=True)

    def list(self) -> Iterator[tuple[str, float]]:
        """The names in the folder, and when each was last written."""
        with os.scandir(self._folder) as entries:
            for entry in entries:
                try:
                    yield entry.name, entry.stat(follow_symlinks=False).st_mtime
                except FileNotFoundError:  # moved on meanwhile
                    continue
