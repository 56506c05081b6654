"""One request at a time writes to an upload; a later one takes over at once.

A client whose connection broke often returns before the server notices. So a new request asks the current
holder to let go. The holder saves what it has received, and ends.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from starlette.requests import Request

from services.files.errors import TakenOver, UploadLocked
from services.files.storage.blob_store import Blobs
from services.files.storage.staging import PartialFile
from shared.errors import BadRequest

WAIT_SECONDS = 20.0
LOOK_SECONDS = 1.0  # how often a request that waits for bytes checks whether another replica wants the upload
IDLE_SECONDS = 60.0


class NothingToHold(Exception):
    """The upload has no staging file: it is complete, or was terminated."""


class Hold:
    """An open upload; `ask()` makes its holder stop."""

    def __init__(self, file: PartialFile, wanted: Path) -> None:
        self.file = file
        self._wanted = wanted
        self._asked = False
        self._waiting: asyncio.Timeout | None = None

    def ask(self) -> None:
        self._asked = True
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(asyncio.get_running_loop().time())

    async def pieces(self, request: Request) -> AsyncIterator[bytes]:
        """Yield the request's bytes until it ends or disconnects; TakenOver if another request arrives."""
        idle = 0.0
        while True:
            self._check()
            try:
                async with asyncio.timeout(LOOK_SECONDS) as self._waiting:
                    message = await request.receive()
            except TimeoutError:
                idle += LOOK_SECONDS
                self._check()
                if idle >= IDLE_SECONDS:
                    raise BadRequest(
                        "No bytes arrived for a minute; request the offset, and continue from there."
                    ) from None
                continue
            finally:
                self._waiting = None
            idle = 0.0
            if message.get("body"):
                yield message["body"]
            if not message.get("more_body"):
                return

    def _check(self) -> None:
        if self._asked or self._wanted.exists():
            raise TakenOver


class Holds:
    """The open uploads of this process."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._here: dict[str, Hold] = {}

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[Hold]:
        wanted = self._blobs.staging.path(f"{key}.wanted")
        file = await self._open(key, wanted)
        hold = self._here[key] = Hold(file, wanted)
        try:
            yield hold
        finally:
            del self._here[key]
            file.close()

    async def _open(self, key: str, wanted: Path) -> PartialFile:
        path = self._blobs.staging.path(key)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while True:
                    with suppress(BlockingIOError):
                        return PartialFile(path)
                    self._ask(key, wanted)
                    await asyncio.sleep(0.02)
        except FileNotFoundError as error:
            raise NothingToHold(key) from error
        except TimeoutError as error:
            raise UploadLocked(headers={"Retry-After": "5"}) from error
        finally:
            _remove(wanted)

    def _ask(self, key: str, wanted: Path) -> None:
        if key in self._here:
            self._here[key].ask()
        else:
            wanted.touch()  # the holder is in another process, which checks for this file


def _remove(file: Path) -> None:
    file.unlink(missing_ok=True)
