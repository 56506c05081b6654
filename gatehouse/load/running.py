"""An open model: people arrive at a rate that does not depend on the responses.

A duration counts from the moment at which somebody arrived, not from the moment at which this program sent
the request. So a server that stands still is seen in the percentiles.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from gatehouse.load.client import Failed
from gatehouse.load.journey import Journey, Person
from gatehouse.load.measure import Measured

SHOW_SECONDS = 5.0
NOT_SENT = "not_sent"
_REFUSED = 400


@dataclass(frozen=True, slots=True)
class Plan:
    """How much load, for how long."""

    rate: float
    seconds: float
    shares: dict[str, float]
    under_way_max: int = 10_000


async def run(journey: Journey, plan: Plan, show: Callable[[str], None]) -> Measured:
    """Put the load on the suite and return what was measured."""
    load = _Load(journey, plan)
    begun = due = time.monotonic()
    shown = begun + SHOW_SECONDS
    while (due := due + journey.pause(plan.rate)) < begun + plan.seconds:
        now = time.monotonic()
        if due > now:
            await asyncio.sleep(due - now)
        elif not load.sent % 50:
            await asyncio.sleep(0)  # arrivals are late: let responses in nevertheless
        load.arrive(due)
        if time.monotonic() > shown:
            shown += SHOW_SECONDS
            show(load.line(time.monotonic() - begun))
    await load.end()
    return load.measured


class _Load:
    def __init__(self, journey: Journey, plan: Plan) -> None:
        self._journey, self._plan = journey, plan
        self.measured = Measured(list(journey.steps))
        self._under_way: set[asyncio.Task[None]] = set()
        self.sent = 0

    def arrive(self, due: float) -> None:
        self.sent += 1
        name, person = self._journey.choose(self._plan.shares)
        if len(self._under_way) >= self._plan.under_way_max:
            self.measured.add(name, time.monotonic() - due, NOT_SENT)
            return
        task = asyncio.create_task(self._take(name, person, due))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _take(self, name: str, person: Person, due: float) -> None:
        error = ""
        try:
            response = await self._journey.steps[name](person)
        except Failed as failure:
            error = failure.code
        else:
            if response.status >= _REFUSED:
                error = response.code
        self.measured.add(name, time.monotonic() - due, error)

    def line(self, seconds: float) -> str:
        total = self.measured.total
        return (
            f"{seconds:4.0f} s  {total.times.count:,} requests, {total.times.count / seconds:,.0f}/s, "
            f"{total.failed:,} errors, p99 {total.times.percentile(99) * 1000:,.0f} ms, "
            f"{len(self._under_way):,} under way"
        )

    async def end(self) -> None:
        if self._under_way:
            await asyncio.wait(self._under_way)
