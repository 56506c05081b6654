import asyncio
import time

import pytest

from tests import stalls


async def test_waiting_counts_and_a_stall_does_not() -> None:
    async def work() -> str:
        await asyncio.sleep(0.2)
        time.sleep(1.5)  # noqa: ASYNC251 - the stall
        return "done"

    result, seconds = await stalls.timed(work())

    assert result == "done"
    assert 0.1 < seconds < 1
    assert await stalls.within(1, work()) == "done"
    with pytest.raises(AssertionError):
        await stalls.within(0.1, work())
