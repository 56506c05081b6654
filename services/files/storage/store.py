"""The interface of a blob store, implemented by disk and S3."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

KEY = re.compile(r"[0-9a-f]{32}")


class BlobMissing(Exception):
    """The storage has no blob of this key."""


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
    """Holds blobs by key, written once and never changed. All calls block, and are made in threads."""

    def put(self, key: str, staged: Path, sha256: str, /) -> None:
        """Take a file in under a key that is new. When this returns it survives a power cut."""

    def open(self, key: str, start: int, length: int, /) -> BlobReader:
        """Read a part of a blob, or raise BlobMissing."""

    def size(self, key: str) -> int | None:
        """How large a blob is; None when there is none."""

    def delete(self, key: str) -> None:
        """Remove a blob; one that is not there is no fault."""

    def list(self) -> Iterator[Stored]:
        """All blobs, in the order of the first two digits of their keys, and nothing else that lies there."""

    def clear(self, older_than: float, /) -> None:
        """Remove the remains of uploads that died before this number of seconds and that no list shows."""

    def link(self, key: str, disposition: str, content_type: str, seconds: int, /) -> str | None:
        """An address from which a browser gets the blob without us; None where there is no such thing."""

    def close(self) -> None:
        """Close connections."""
