"""Client-side rate limits for AWS calls: evenly spaced, with a pause after AWS throttles one."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

Sleep = Callable[[float], Awaitable[None]]
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Api:
    """The unit that AWS throttles: one API of one account in one region."""

    account: str
    region: str
    name: str


class Pace:
    """Spaces calls out. `rates` are calls per second, by API name."""

    def __init__(
        self, rates: Mapping[str, float], *, clock: Clock | None = None, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._gaps = {name: 1 / rate for name, rate in rates.items()}
        self._clock, self._sleep = clock, sleep
        self._next: dict[Api, float] = {}

    async def turn(self, api: Api) -> None:
        """Wait until this API may be called."""
        gap, moment = self._gaps.get(api.name, 0.0), self._now()
        turn = max(moment, self._next.get(api, moment))
        self._next[api] = turn + gap
        if turn > moment:
            await self._sleep(turn - moment)

    def hold(self, api: Api, seconds: float) -> None:
        """Delay all calls to this API, because one was throttled."""
        moment = self._now()
        self._next[api] = max(self._next.get(api, moment), moment + seconds)

    async def pause(self, seconds: float) -> None:
        await self._sleep(seconds)

    def _now(self) -> float:
        return self._clock() if self._clock else asyncio.get_running_loop().time()
