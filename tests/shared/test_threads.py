"""Blocking work in threads: results, failures, order, cancelled callers, and closing."""

import asyncio
import threading
from collections.abc import Iterator
from contextvars import ContextVar

import pytest

from shared.process.threads import Threads

SPOKEN: ContextVar[str] = ContextVar("spoken", default="nothing")


@pytest.fixture
def one() -> Iterator[Threads]:
    threads = Threads(1, "test")
    yield threads
    threads.close()


async def test_work_gets_the_context_of_the_caller_and_returns_its_result(one: Threads) -> None:
    SPOKEN.set("something")
    assert await one.call(lambda prefix: prefix + SPOKEN.get(), "said ") == "said something"


async def test_work_runs_outside_the_thread_of_the_event_loop(one: Threads) -> None:
    assert await one.call(threading.get_ident) != threading.get_ident()


async def test_exception_reaches_the_caller_and_the_thread_continues(one: Threads) -> None:
    with pytest.raises(ZeroDivisionError):
        await one.call(lambda: 1 // 0)
    assert await one.call(lambda: 7) == 7


async def test_one_thread_works_in_order_of_arrival(one: Threads) -> None:
    done: list[int] = []
    await asyncio.gather(*(one.call(done.append, number) for number in range(100)))
    assert done == [*range(100)]


async def test_several_threads_work_at_once() -> None:
    threads = Threads(2, "test")
    meeting = threading.Barrier(2)
    try:
        await asyncio.gather(threads.call(meeting.wait, 30), threads.call(meeting.wait, 30))
    finally:
        threads.close()


async def test_work_of_a_cancelled_caller_is_not_started(one: Threads) -> None:
    started, release = threading.Event(), threading.Event()
    done: list[str] = []

    def hold() -> None:
        started.set()
        release.wait(30)

    holding = asyncio.ensure_future(one.call(hold))
    await asyncio.to_thread(started.wait, 30)
    gone = asyncio.ensure_future(one.call(done.append, "gone"))
    await asyncio.sleep(0)  # it is queued
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    release.set()
    await holding
    await one.call(done.append, "later")
    assert done == ["later"]


async def test_closing_waits_for_accepted_work(one: Threads) -> None:
    done: list[int] = []
    waiting = [asyncio.ensure_future(one.call(done.append, number)) for number in range(10)]
    await asyncio.sleep(0)  # all are queued
    one.close()
    assert done == [*range(10)]
    await asyncio.gather(*waiting)


def test_work_that_outlives_its_event_loop_ends_quietly(one: Threads) -> None:
    started, release = threading.Event(), threading.Event()

    def hold() -> None:
        started.set()
        release.wait(30)

    async def leave() -> None:
        asyncio.get_running_loop().create_task(one.call(hold))
        await asyncio.to_thread(started.wait, 30)

    asyncio.run(leave())
    release.set()
    assert asyncio.run(one.call(lambda: "still here")) == "still here"
