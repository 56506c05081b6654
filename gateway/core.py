"""What all exchanges of one process share."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Protocol

from gateway.identity import Proxies
from gateway.limits import Limiter
from gateway.settings import Settings
from gateway.table import RouteTable
from gateway.upstream import Backend
from shared.client import HttpClient
from shared.identity import TokenVerifier

WATCH_SECONDS = 0.25


class Watched(Protocol):
    """Something with a deadline."""

    deadline: float

    def expire(self) -> None: ...

    def close(self) -> None: ...


class Gateway:
    """The table and the state that goes with it: connections, limiters, verified tokens, open exchanges."""

    def __init__(self, settings: Settings, table: RouteTable, client: HttpClient) -> None:
        self.settings = settings
        self.table = table
        self.client = client
        self.verifier = TokenVerifier(settings, client)
        self.proxies = Proxies(settings.trusted_proxies)
        self.backends = {route.backend: Backend(route.backend) for route in table.routes}
        self.limiters = {route.name: Limiter(route.name, route.policy.rate_limit) for route in table.routes}
        self.open: set[Watched] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._watch: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._watch = asyncio.get_running_loop().call_later(WATCH_SECONDS, self._expire)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what has to wait; the reference keeps the task alive."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Cut what is still open; the drain before this has given everything its time."""
        if self._watch is not None:
            self._watch.cancel()
        for task in tuple(self._tasks):
            task.cancel()
        for exchange in tuple(self.open):
            exchange.close()
        for backend in self.backends.values():
            backend.close()
        await self.client.close()

    def _expire(self) -> None:
        # One timer for all exchanges: two clock reads per request are cheaper than arming and disarming.
        now = time.monotonic()
        for exchange in [each for each in self.open if each.deadline < now]:
            exchange.expire()
        for backend in self.backends.values():
            backend.drop_stale(now)
        self.start()
