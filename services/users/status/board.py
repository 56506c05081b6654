"""Checks the database and Redis, at most once every few seconds."""

import asyncio
import time
from typing import Any

import structlog
from sqlalchemy.pool import QueuePool

from services.users.status.schemas import (
    AppOut,
    DatabaseOut,
    DatabaseStats,
    DependencyOut,
    ServicesOut,
    StatusOut,
)
from shared import __version__
from shared.clock import now
from shared.data.database import Database
from shared.process.redis import close, connect

KEPT_SECONDS = 5.0
REDIS_SECONDS = 1.0
NOT_USED = DependencyOut(healthy=None, note="not used")

log = structlog.get_logger(__name__)


class StatusBoard:
    """Keeps the last status, so that strangers who ask often cause no checks."""

    def __init__(self, database: Database, redis_url: str | None, environment: str) -> None:
        self._database, self._redis_url = database, redis_url
        self._app = AppOut(name="Gatehouse", version=__version__, env=environment)
        self._kept: StatusOut | None = None
        self._until = 0.0
        self._checking = asyncio.Lock()

    async def status(self) -> StatusOut:
        """Return the status, which may be a few seconds old."""
        async with self._checking:
            if self._kept is None or time.monotonic() >= self._until:
                self._kept = await self._check()
                self._until = time.monotonic() + KEPT_SECONDS
            return self._kept

    async def _check(self) -> StatusOut:
        database, redis = await asyncio.gather(self._check_database(), self._check_redis())
        is_healthy = database.healthy and redis.healthy is not False
        return StatusOut(
            status="healthy" if is_healthy else "degraded",
            timestamp=now(),
            services=ServicesOut(database=database, redis=redis, nats=NOT_USED),
            app=self._app,
        )

    async def _check_database(self) -> DatabaseOut:
        is_healthy = True
        try:
            await self._database.in_thread(self._database.ping)
        except Exception as error:  # noqa: BLE001 - any error means not healthy
            log.warning("database_unhealthy", error=repr(error))
            is_healthy = False
        pool = self._database.engine.pool
        in_use, idle = (pool.checkedout(), pool.checkedin()) if isinstance(pool, QueuePool) else (0, 0)
        stats = DatabaseStats(open_connections=in_use + idle, in_use=in_use, idle=idle)
        return DatabaseOut(healthy=is_healthy, stats=stats)

    async def _check_redis(self) -> DependencyOut:
        if self._redis_url is None:
            return NOT_USED
        redis = connect(self._redis_url, timeout_seconds=REDIS_SECONDS)
        try:
            answer: Any = redis.ping()  # typed for the blocking client as well
            await answer
        except Exception as error:  # noqa: BLE001 - any error means not healthy
            log.warning("redis_unhealthy", error=repr(error))
            return DependencyOut(healthy=False, note=None)
        finally:
            await close(redis)
        return DependencyOut(healthy=True, note=None)
