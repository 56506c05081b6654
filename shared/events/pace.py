"""Paces work on a backlog so that requests, here and at the receiver, are hardly slowed down."""

import asyncio

FORGOTTEN_MAX = 500  # deletions per transaction
# How long events are gathered, so that a burst is delivered together; it bounds the delay of an event
# in normal operation. A delivery costs as much as dozens of events, so under load they are gathered longer.
GATHER_SECONDS = 0.05
GATHER_UNDER_LOAD_SECONDS = 0.2
LOAD_EVENTS = 10  # this many events within about a second count as load
PAUSE_SHARE = 1.5  # the pause between two full batches, relative to the time that the last one took


async def make_room(began: float) -> None:
    """Pause in proportion to the time since `began`, which is on the event loop's clock."""
    await asyncio.sleep(PAUSE_SHARE * (asyncio.get_running_loop().time() - began))


class Gathering:
    """How long to gather events before the next delivery, given how many were delivered lately."""

    def __init__(self) -> None:
        self._lately = self._noted = 0.0

    def note(self, delivered: int, at: float) -> None:
        """Count delivered events; `at` is on the event loop's clock, in seconds."""
        self._lately, self._noted = self._left(at) + delivered, at

    def seconds(self, at: float) -> float:
        return GATHER_UNDER_LOAD_SECONDS if self._left(at) >= LOAD_EVENTS else GATHER_SECONDS

    def _left(self, at: float) -> float:
        """Return the recent count, which decays within a second."""
        return self._lately * max(0.0, 1.0 - (at - self._noted))
