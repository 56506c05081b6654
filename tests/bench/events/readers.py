"""Stands in for the subscribers that a benchmark does not start.

With Redis, an event stays in the outbox until every consumer group has acknowledged it. Without readers, the
groups of these services would never be done, and the outbox would never drain.
"""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from redis import Redis
from redis.exceptions import ResponseError

from shared.events.streams import STREAM

PASS_SECONDS = 0.2


@contextmanager
def done_with_everything(url: str, groups: Iterable[str]) -> Iterator[None]:
    """Keep these groups at the end of the stream, as if their services had processed every event."""
    stopping = threading.Event()
    thread = threading.Thread(target=_pass_all, args=(url, [*groups], stopping), name="absent readers")
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def _pass_all(url: str, groups: list[str], stopping: threading.Event) -> None:
    with Redis.from_url(url) as redis:
        while not stopping.wait(PASS_SECONDS):
            for group in groups:
                with suppress(ResponseError):  # no event was sent yet, so there is no group
                    redis.xgroup_setid(STREAM, group, "$")
