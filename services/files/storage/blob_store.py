"""The storage for asynchronous handlers: a store and a staging directory, used in separate threads."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, Protocol, TypeVar

from services.files.settings import BLOBS_FOLDER, Settings
from services.files.storage.disk_store import DiskStore
from services.files.storage.staging import Staging
from services.files.storage.store import BlobStore

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 16
WRITE_BYTES = 1 << 20


def make_store(settings: Settings) -> BlobStore:
    """Return the store that the settings name."""
    if settings.storage_type == "s3":
        from services.files.storage.s3_store import (
            S3Store,
        )  # boto3 is large, and the disk store does not need it

        return S3Store(settings)
    assert settings.storage_path is not None  # never None: the settings fill in a default
    return DiskStore(settings.storage_path / BLOBS_FOLDER)


class Blobs:
    """Runs disk and network calls in their own threads, so that those of the database stay free."""

    def __init__(self, store: BlobStore, staging: Staging) -> None:
        self.store = store
        self.staging = staging
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="blobs")

    def start(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Start the work in a thread; the result can be awaited later."""
        return asyncio.wrap_future(self._threads.submit(work, *args, **kwargs))

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the work in a thread to its end, even if the caller is cancelled meanwhile.

        Threads cannot be stopped. A cancelled caller would close the thread's file, whose descriptor could be
        reused by another file, and the thread would write into that one.
        """
        begun = self.start(work, *args, **kwargs)
        try:
            return await asyncio.shield(begun)
        except asyncio.CancelledError:
            await asyncio.wait([begun])
            raise

    def close(self) -> None:
        self._threads.shutdown(wait=True)
        self.store.close()


class Target(Protocol):
    """A file that is written to."""

    def write(self, pieces: Sequence[bytes], /) -> None: ...


class Inflow:
    """Writes arriving bytes to a file: one piece is written while the next one arrives."""

    def __init__(self, blobs: Blobs, target: Target) -> None:
        self._blobs = blobs
        self._target = target
        self._pieces: list[bytes] = []
        self._waiting_bytes = 0
        self._writing: asyncio.Future[None] | None = None
        self.size = 0

    async def add(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._waiting_bytes += len(piece)
        self.size += len(piece)
        if self._waiting_bytes >= WRITE_BYTES:
            await self._hand_over()

    async def flush(self) -> None:
        """Wait until all received bytes have been written."""
        await self._hand_over()
        await self._written()

    async def settle(self) -> None:
        """Wait until the current write has ended, whatever its result."""
        if self._writing is not None:
            await asyncio.wait([self._writing])

    async def _hand_over(self) -> None:
        await self._written()
        pieces, self._pieces, self._waiting_bytes = self._pieces, [], 0
        self._writing = self._blobs.start(self._target.write, pieces)

    async def _written(self) -> None:
        if self._writing is not None:
            await asyncio.shield(
                self._writing
            )  # the write continues after a cancellation: `settle` waits for it
            self._writing = None
