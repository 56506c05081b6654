"""Folders and buckets with the data of a service, and holds on them.

While a backup holds a folder or a bucket, its service removes nothing from it that may still have to be
copied. A hold expires by itself, so a killed backup stops nothing for long.
"""

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

HOLD_PREFIX = ".backup-in-progress-"
REFRESH_SECONDS = 5.0
EXPIRES_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class StoredFolder:
    """A folder that backups contain."""

    name: str
    path: Path
    # Whether people create files in it as they like; then a file that cannot be copied stops no backup.
    is_of_people: bool = False


@dataclass(frozen=True, slots=True)
class StoredBucket:
    """A bucket of S3 whose objects backups contain, in the layout of the folder that it stands for."""

    name: str
    bucket: str
    prefix: str
    region: str
    endpoint_url: str | None
    access_key: str | None
    secret_key: str | None = field(repr=False)
    key: re.Pattern[str]  # of its own objects: the bucket may hold others
    subfolder: str

    @property
    def place(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    def path_of(self, key: str) -> str:
        """Return where an object would be in the folder."""
        return f"{self.subfolder}/{key[:2]}/{key}"

    def key_of(self, path: str) -> str | None:
        """Return the key of an object by its path in the folder; None for other files."""
        key = path.rpartition("/")[2]
        return key if self.key.fullmatch(key) and self.path_of(key) == path else None


class Hold:
    """One backup's hold on a folder."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / f"{HOLD_PREFIX}{uuid4().hex}"
        for old in _holds(folder):
            if not _is_recent(old):
                old.unlink(missing_ok=True)

    def begin(self) -> None:
        self.extend()

    def extend(self) -> None:
        with suppress(OSError):
            self._file.touch(mode=0o600)

    def end(self) -> None:
        self._file.unlink(missing_ok=True)


def is_held(folder: Path) -> bool:
    return any(_is_recent(file) for file in _holds(folder))


def _holds(folder: Path) -> Iterator[Path]:
    return folder.glob(f"{HOLD_PREFIX}*")


def _is_recent(file: Path) -> bool:
    try:
        return abs(time.time() - file.stat().st_mtime) < EXPIRES_SECONDS
    except OSError:
        return False
