"""Takes turns at a queue of the service until it stops, and waits for its changes in between."""

import asyncio
import contextlib
from types import TracebackType
from typing import Self

import structlog

from shared.errors import Problem
from shared.process.tasks import end
from shared.work.changes import Changes

AFTER_FAULT_SECONDS = 5.0

log = structlog.get_logger(__name__)


class QueueLoop:
    """Works while it is open: `async with …`. A subclass says what a turn is; `items` is for the log."""

    def __init__(self, queue: str, items: str, changes: Changes, seconds_max: float) -> None:
        self._queue, self._items, self._changes, self._seconds_max = queue, items, changes, seconds_max
        self._stopping = asyncio.Event()

    async def turn(self) -> bool:
        """Do some work; return whether there may be more to do now."""
        raise NotImplementedError

    async def close(self) -> None:
        """Finish what was begun, after the last turn."""

    async def __aenter__(self) -> Self:
        self._stopping.clear()
        self._task = asyncio.create_task(self._always(), name=self._items)
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._changes.wake(self._queue)
        _, late = await asyncio.wait([self._task], timeout=self._seconds_max)
        await end(late)
        await self.close()

    async def _always(self) -> None:
        paused, interrupted = f"{self._items}_paused", f"{self._items}_interrupted"
        with self._changes.following(self._queue) as follower:
            while not self._stopping.is_set():
                try:
                    if await self.turn():
                        continue
                except Problem as error:
                    log.warning(paused, error=repr(error))
                    await self._rest(AFTER_FAULT_SECONDS)
                except Exception:
                    log.exception(interrupted)
                    await self._rest(AFTER_FAULT_SECONDS)
                else:
                    await follower.changed()

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
