"""Blobs on the local disk, spread over 256 directories."""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from services.files.storage.store import KEY, BlobMissing, BlobReader, Stored
from shared.process.stored import is_held

_FOLDER = re.compile(r"[0-9a-f]{2}")


class DiskStore:
    """A directory of blobs. A blob appears complete or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def put(self, key: str, staged: Path, _sha256: str, /) -> None:
        file = self._file(key)
        if not file.parent.exists():
            file.parent.mkdir(exist_ok=True, mode=0o700)
            sync_folder(self._folder)
        staged.rename(file)
        sync_folder(file.parent)

    def open(self, key: str, start: int, _length: int, /) -> BlobReader:
        try:
            # Only this service writes here; symbolic links are not followed.
            descriptor = os.open(self._file(key), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise BlobMissing(key) from error
        handle = os.fdopen(descriptor, "rb", buffering=0)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            handle.close()
            raise BlobMissing(key)
        handle.seek(start)
        return handle

    def size(self, key: str) -> int | None:
        try:
            return self._file(key).lstat().st_size
        except FileNotFoundError:
            return None

    def delete(self, key: str) -> None:
        self._file(key).unlink(missing_ok=True)

    def list(self) -> Iterator[Stored]:
        for folder in sorted(self._folder.iterdir()):
            if not _FOLDER.fullmatch(folder.name):
                continue
            with os.scandir(folder) as entries:
                for entry in entries:
                    if not KEY.fullmatch(entry.name):
                        continue
                    with suppress(FileNotFoundError):  # deleted meanwhile
                        found = entry.stat(follow_symlinks=False)
                        yield Stored(entry.name, found.st_size, found.st_mtime)

    def clear(self, _older_than: float, /) -> None:
        """Do nothing: a rename has no leftovers."""

    def is_held(self) -> bool:
        return is_held(self._folder.parent)  # which backups copy, with the staging directory

    def link(self, _key: str, _disposition: str, _content_type: str, _seconds: int, /) -> str | None:
        return None

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def _file(self, key: str) -> Path:
        if not KEY.fullmatch(key):
            raise ValueError(f"{key!r} is not the key of a blob")
        return self._folder / key[:2] / key


def sync_folder(folder: Path) -> None:
    """Make changes of a directory's entries durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
