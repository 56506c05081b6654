"""The interface of a blob store, implemented by disk and S3."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

KEY = re.compile(r"[0-9a-f]{32}")


class BlobMissing(Exception):
    """The storage has no blob with this key."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One blob as the storage lists it."""

    key: str
    size: int
    modified: float


class BlobReader(Protocol):
    """An open blob."""

    def read(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


class BlobStore(Protocol):
    """Stores blobs by key, written once and never changed. All calls block and run in threads."""

    def put(self, key: str, staged: Path, sha256: str, /) -> None:
        """Store a file under a new key. It is durable when this returns."""

    def open(self, key: str, start: int, length: int, /) -> BlobReader:
        """Read a part of a blob, or raise BlobMissing."""

    def size(self, key: str) -> int | None:
        """Return the size of a blob, or None if there is none."""

    def delete(self, key: str) -> None:
        """Remove a blob if it exists."""

    def list(self) -> Iterator[Stored]:
        """List all blobs, ordered by the first two digits of their keys; other objects are skipped."""

    def clear(self, older_than: float, /) -> None:
        """Remove leftovers of uploads that appear in no list and are older than this number of seconds."""

    def is_held(self) -> bool:
        """Whether a backup is copying the blobs: its copy of the rows may name some that are doomed since."""

    def link(self, key: str, disposition: str, content_type: str, seconds: int, /) -> str | None:
        """Return a URL from which a browser gets the blob directly; None if the store has none."""

    def close(self) -> None:
        """Close connections."""
