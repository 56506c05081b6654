"""Ending tasks, even those that swallow a cancellation."""

import asyncio

from shared.process.tasks import end

SECONDS_MAX = 10


async def test_task_that_swallows_cancellations_is_cancelled_until_it_has_ended() -> None:
    swallowed = 0

    async def write_like_redis() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if swallowed == 2:
                    raise
                swallowed += 1

    tasks = [asyncio.create_task(write_like_redis()), asyncio.create_task(asyncio.sleep(0))]
    await asyncio.sleep(0)
    async with asyncio.timeout(SECONDS_MAX):
        await end(tasks)

    assert tasks[0].cancelled()
    assert tasks[1].done()


async def test_ending_an_empty_list_of_tasks_returns_at_once() -> None:
    await end([])
