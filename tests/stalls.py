"""Measures how long something takes, without the moments in which the machine stood still.

A bound of a second is about our code. A virtual machine may stop for longer than that, and then so do we.
"""

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")

STEP_SECONDS = 0.01
STEP_SECONDS_MAX = 0.05  # on a busy machine; a longer step was a stall


async def timed(work: Awaitable[T]) -> tuple[T, float]:
    """Return the result of `work`, and the seconds that it took while this process could run."""
    task, seconds = asyncio.ensure_future(work), 0.0
    try:
        while not task.done():
            began = time.monotonic()
            await asyncio.wait([task], timeout=STEP_SECONDS)
            seconds += min(time.monotonic() - began, STEP_SECONDS_MAX)
    finally:
        task.cancel()
    return await task, seconds


async def within(seconds: float, work: Awaitable[T]) -> T:
    """Return the result of `work`, which must not take longer than this."""
    result, taken = await timed(work)
    assert taken < seconds
    return result


async def sleep(seconds: float) -> None:
    """Sleep this long, stalls not counted, so that other processes had this time as well."""
    for _ in range(round(seconds / STEP_SECONDS)):
        await asyncio.sleep(STEP_SECONDS)
