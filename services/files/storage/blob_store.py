"""The storage for asynchronous handlers: a store and a staging folder, used in threads of their own."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, Protocol, TypeVar

from services.files.settings import Settings
from services.files.storage.disk_store import DiskStore
from services.files.storage.staging import Staging
from services.files.storage.store import BlobStore

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 16
WRITE_BYTES = 1 << 20


def make_store(settings: Settings) -> BlobStore:
    """The store that the settings name."""
    if settings.storage_type == "s3":
        from services.files.storage.s3_store import S3Store  # boto3 is large, and a disk does not need it

        return S3Store(settings)
    assert settings.storage_path is not None  # its default is a folder
    return DiskStore(settings.storage_path / "blobs")


class Blobs:
    """Disk and network are waited for in threads: those of the database stay free for the database."""

    def __init__(self, store: BlobStore, staging: Staging) -> None:
        self.store = store
        self.staging = staging
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="blobs")

    def start(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Begin in a thread; the answer can be waited for later."""
        return asyncio.wrap_future(self._threads.submit(work, *args, **kwargs))

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run in a thread to its end, even if the caller is cancelled meanwhile.

        Threads cannot be stopped, and a cancelled caller closes the file that they use: its number would go
        to the next opened file, and the thread would write into that.
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
    """Writes what arrives into a file: one piece is written while the next one arrives."""

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
        """Wait until all that came has been written."""
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
            await asyncio.shield(self._writing)  # cancelled here, it still writes: `settle` waits for that
            self._writing = None
