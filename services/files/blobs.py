"""The storage as asynchronous handlers use it: a store and a staging folder, in threads of their own."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from services.files.staging import Landed, StagedFile, Staging
from services.files.stores import BlobStore

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 16
WRITE_BYTES = 1 << 20


class Blobs:
    """Disk and network are waited for in threads: those of the database stay free for the database."""

    def __init__(self, store: BlobStore, staging: Staging) -> None:
        self.store = store
        self.staging = staging
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="blobs")

    def start(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Begin in a thread; the answer can be waited for later."""
        return asyncio.wrap_future(self._threads.submit(work, *args, **kwargs))

    def close(self) -> None:
        self._threads.shutdown(wait=True)
        self.store.close()


class Inflow:
    """Writes what arrives into a staged file: one piece is written while the next one arrives."""

    def __init__(self, blobs: Blobs, staged: StagedFile) -> None:
        self._blobs = blobs
        self._staged = staged
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

    async def finish(self) -> Landed:
        """Wait until all of it is on the disk."""
        await self._hand_over()
        await self._written()
        return await self._blobs.start(self._staged.finish)

    async def discard(self) -> None:
        """Nobody wants it any more."""
        try:
            await self._written()
        finally:
            await self._blobs.start(self._staged.discard)

    async def _hand_over(self) -> None:
        await self._written()
        pieces, self._pieces, self._waiting_bytes = self._pieces, [], 0
        self._writing = self._blobs.start(self._staged.write, pieces)

    async def _written(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing
