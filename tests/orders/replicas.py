"""Replicas of the service as real processes that can be killed, and clients that repeat their requests."""

import asyncio
import signal
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Table, func, select

from services.orders.models import ORDERS
from shared.data.database import Database
from tests import support
from tests.shared.processes import forked, service_environment

REPLICAS = 2
SECONDS = 120.0

Request = tuple[str, str, Any, dict[str, str]]  # method, path, body, headers


class Replica:
    """A real process of the service, on a port that it keeps when it is started again."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.port = support.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = service_environment(folder, self.port, DATABASE_URL=database_url)
        self._life = ExitStack()

    def start(self, dies_at: str = "", **settings: str) -> None:
        """Start it, and wait until it responds. It kills itself when it first reaches the step."""
        failpoint = {"GATEHOUSE_FAILPOINT": dies_at} if dies_at else {}
        environment = self._environment | failpoint | settings
        self._life = ExitStack()
        self._process = self._life.enter_context(forked("services.orders", environment=environment))
        assert support.eventually(self._responds, seconds=SECONDS), self._process.output

    def _responds(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/health/ready").status_code == 200
        return False

    def kill(self) -> None:
        self._process.send(signal.SIGKILL)
        self.wait_until_killed()

    def wait_until_killed(self) -> None:
        assert self._process.code() == -signal.SIGKILL
        self._life.close()

    def close(self) -> None:
        self._life.close()


class Shop:
    """Replicas of the service, and buyers that repeat a request until it has an outcome."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.replicas = [Replica(folder, database_url) for _ in range(REPLICAS)]
        self.database_url = database_url
        self._urls = cycle([one.url for one in self.replicas])
        self.repeated = 0

    async def all_of(self, requests: Sequence[Request]) -> list[httpx.Response]:
        async with httpx.AsyncClient(timeout=30, limits=httpx.Limits(max_connections=64)) as client:
            return await asyncio.gather(*[self._ask(client, *one) for one in requests])

    async def _ask(
        self, client: httpx.AsyncClient, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> httpx.Response:
        async with asyncio.timeout(SECONDS):
            while True:
                with suppress(httpx.TransportError):
                    response = await client.request(
                        method, next(self._urls) + path, json=body, headers=headers
                    )
                    if response.status_code < 500:
                        return response
                self.repeated += 1
                await asyncio.sleep(0.05)

    def number_of(self, table: Table) -> int:
        database = Database(self.database_url, pool_size=1)
        try:
            with database.transaction(write=False) as session:
                counted = select(func.count()).select_from(table)
                return int(session.connection().execute(counted).scalar_one())
        finally:
            database.close()

    def number_placed(self) -> int:
        return self.number_of(ORDERS)

    def kill_when_more_are_placed(self, victim: Replica, before: int) -> None:
        self.kill_when_more(victim, ORDERS, before)

    def kill_when_more(self, victim: Replica, table: Table, before: int) -> None:
        assert support.eventually(lambda: self.number_of(table) > before, seconds=SECONDS)
        victim.kill()
        victim.start()
