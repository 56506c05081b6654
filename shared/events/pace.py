"""Paces work on a backlog so that requests, here and at the receiver, are hardly slowed down."""

import asyncio

FORGOTTEN_MAX = 500  # deletions per transaction
PAUSE_SHARE = 1.5  # the pause between two full batches, relative to the time that the last one took


async def make_room(began: float) -> None:
    """Pause in proportion to the time since `began`, which is on the event loop's clock."""
    await asyncio.sleep(PAUSE_SHARE * (asyncio.get_running_loop().time() - began))
