"""Threads for blocking work, called from the event loop."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class Job(NamedTuple):
    future: asyncio.Future[Any]
    context: contextvars.Context
    work: Callable[..., Any]
    arguments: tuple[Any, ...]


class Threads:
    """A fixed number of threads with one queue.

    The standard library's executor creates a second future with a lock per call and chains it to the event
    loop's, which is a fifth of the cost of a small request.
    """

    def __init__(self, number: int, name: str) -> None:
        self._number = number
        self._name = name
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    async def call(self, work: Callable[..., T], *arguments: Any) -> T:
        """Call `work` in one of the threads, with the caller's context variables."""
        if not self._threads:
            self._start()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put(Job(future, contextvars.copy_context(), work, arguments))
        return await future

    @property
    def waiting(self) -> int:
        """The calls that no thread has begun."""
        return self._jobs.qsize()

    def close(self) -> None:
        """Finish accepted work, then end the threads."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _start(self) -> None:
        # Daemon threads: after an aborted event loop nothing could close them.
        for number in range(self._number):
            thread = threading.Thread(target=self._run, name=f"{self._name}_{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            _do(job)
            del job  # an idle thread keeps neither arguments nor result alive


def _do(job: Job) -> None:
    if job.future.cancelled():  # the caller gave up before it started
        return
    result, failure = None, None
    try:
        result = job.context.run(job.work, *job.arguments)
    except BaseException as error:  # noqa: BLE001 - raised again in the caller
        failure = error
    with suppress(RuntimeError):  # the event loop has been closed
        job.future.get_loop().call_soon_threadsafe(_settle, job.future, result, failure)


def _settle(future: asyncio.Future[Any], result: Any, failure: BaseException | None) -> None:
    if future.cancelled():
        return
    if failure is None:
        future.set_result(result)
    else:
        future.set_exception(failure)
