"""How fast AWS is asked: evenly, and slower for a while after it has refused a call as one too many."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

Sleep = Callable[[float], Awaitable[None]]
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Api:
    """What AWS limits by itself: one API of one account in one region."""

    account: str
    region: str
    name: str


class Pace:
    """Gives every call its turn. `rates` are calls per second, by name of the API."""

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
        """Let all calls of this API wait: one was refused as one too many."""
        moment = self._now()
        self._next[api] = max(self._next.get(api, moment), moment + seconds)

    async def pause(self, seconds: float) -> None:
        await self._sleep(seconds)

    def _now(self) -> float:
        return self._clock() if self._clock else asyncio.get_running_loop().time()
