"""How fast a backlog is worked off: so that requests, here and where it goes, hardly notice."""

import asyncio

PAUSE_SHARE = 1.5  # between two full batches: so many times what the last one took


async def make_room(began: float) -> None:
    """Leave more time to requests than was taken since then, on the clock of the event loop."""
    await asyncio.sleep(PAUSE_SHARE * (asyncio.get_running_loop().time() - began))
