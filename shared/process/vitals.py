"""Metrics of the process itself, and those that must be looked up now and then."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self

import structlog
from prometheus_client import Gauge

from shared import __version__
from shared.process.tasks import end

BEAT_SECONDS = 1.0
BEATS_KEPT = 15
LOOK_SECONDS = 30.0

BUILD = Gauge("build_info", "1; the label says which version runs", ["version"], multiprocess_mode="livemax")
LAG = Gauge(
    "event_loop_lag_seconds",
    "The longest delay of the event loop in the last 15 seconds",
    multiprocess_mode="livemax",
)

CLOCK = Gauge(
    "process_clock_seconds", "The time of this process, set every second", multiprocess_mode="livemostrecent"
)

log = structlog.get_logger(__name__)

Look = Callable[[], Awaitable[None]]


class Vitals:
    """Measures the event loop while it is open, and looks up other metrics every LOOK_SECONDS.

    What a scrape would have to wait for, such as the size of a database, is looked up here.
    """

    def __init__(self, looks: Sequence[Look] = ()) -> None:
        self._looks = looks
        self._delays: deque[float] = deque(maxlen=BEATS_KEPT)

    async def __aenter__(self) -> Self:
        BUILD.labels(__version__).set(1)
        self._tasks = [
            asyncio.create_task(self._beat()),
            *(asyncio.create_task(_look(one)) for one in self._looks),
        ]
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await end(self._tasks)

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + BEAT_SECONDS
            await asyncio.sleep(BEAT_SECONDS)
            self._delays.append(max(0.0, loop.time() - due))
            LAG.set(max(self._delays))
            CLOCK.set(time.time())


async def _look(look: Look) -> None:
    while True:
        try:
            await look()
        except Exception as error:  # noqa: BLE001 - a missing metric must not end the process
            log.warning("metrics_not_looked_up", error=repr(error))
        await asyncio.sleep(LOOK_SECONDS)
