"""Staging: a directory of files that are not blobs yet."""

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from services.files.errors import StorageFull
from services.files.media_types import SNIFFED_BYTES
from services.files.storage.disk_store import sync_folder

READ_BYTES = 1 << 20
FULL = (errno.ENOSPC, errno.EDQUOT)


class Hash(Protocol):
    """A hash object of hashlib."""

    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Landed:
    """The size, hash and first bytes of a complete file."""

    size: int
    sha256: str
    head: bytes


class Fingerprint:
    """Computes size, hash and first bytes while the bytes arrive."""

    def __init__(self) -> None:
        self._size = 0
        self._head = b""
        self._hash = hashlib.sha256()

    def update(self, data: bytes) -> None:
        if len(self._head) < SNIFFED_BYTES:
            self._head += data[: SNIFFED_BYTES - len(self._head)]
        self._hash.update(data)
        self._size += len(data)

    def landed(self) -> Landed:
        return Landed(self._size, self._hash.hexdigest(), self._head)


def measured(readable: Readable) -> Landed:
    """Compute size, hash and first bytes by reading the whole file again."""
    fingerprint = Fingerprint()
    while piece := readable.read(READ_BYTES):
        fingerprint.update(piece)
    return fingerprint.landed()


class StagedFile:
    """A file that is filled by one request."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fingerprint = Fingerprint()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._descriptor = descriptor
        self._handle = os.fdopen(descriptor, "wb", buffering=0)

    def write(self, pieces: Sequence[bytes]) -> None:
        data = b"".join(pieces)
        _write_all(self._descriptor, data)
        self._fingerprint.update(data)

    def finish(self) -> Landed:
        """Make the file durable."""
        os.fsync(self._descriptor)
        self._handle.close()
        return self._fingerprint.landed()

    def discard(self) -> None:
        self._handle.close()
        self._path.unlink(missing_ok=True)


class PartialFile:
    """A file that is filled by several requests; only one of them has it open at a time."""

    def __init__(self, path: Path) -> None:
        """Open the file; raise BlockingIOError while another request in any process has it open."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise
        self._checksum: Hash | None = None
        self._fingerprint: Fingerprint | None = None

    def go_on(self, received: int, checksum: Hash | None) -> bool:
        """Continue after this number of bytes, if they exist; bytes beyond them were never confirmed."""
        if os.fstat(self._descriptor).st_size < received:
            return False
        os.truncate(self._descriptor, received)
        os.lseek(self._descriptor, received, os.SEEK_SET)
        self._checksum = checksum
        self._fingerprint = Fingerprint() if received == 0 else None
        return True

    def write(self, pieces: Sequence[bytes]) -> None:
        data = b"".join(pieces)
        _write_all(self._descriptor, data)
        for one in (self._checksum, self._fingerprint):
            if one is not None:
                one.update(data)

    def sync(self) -> None:
        """Make the written bytes durable."""
        os.fsync(self._descriptor)

    def landed(self) -> Landed | None:
        """Return the properties of the file, if this request sent all of it."""
        return None if self._fingerprint is None else self._fingerprint.landed()

    def close(self) -> None:
        os.close(self._descriptor)


class Staging:
    """The staging directory. Each file is named after the key of its future blob."""

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
        """List the names in the directory, and when each was last written."""
        with os.scandir(self._folder) as entries:
            for entry in entries:
                try:
                    yield entry.name, entry.stat(follow_symlinks=False).st_mtime
                except FileNotFoundError:  # moved meanwhile
                    continue


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError as error:
        if error.errno in FULL:
            raise StorageFull from error
        raise
