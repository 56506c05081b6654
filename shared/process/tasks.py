"""Event-loop tasks that run until the process stops."""

import asyncio
from collections.abc import Iterable
from typing import Any

CANCEL_SECONDS = 0.2


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they have ended.

    redis-py writes under `asyncio.wait_for`, which in Python 3.11 swallows a cancellation that arrives as
    the write completes. A task that uses Redis survives a single cancellation in half of all cases.
    """
    left: set[asyncio.Task[Any]] = {*tasks}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_SECONDS)
