"""Rate limits that several gateways share: counted in Redis, by one atomic script, in one round trip.

While Redis is unavailable, requests are neither refused nor unlimited: each gateway enforces its share of the
limit. It knows the number of gateways from Redis, where each registers every second.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Self

import structlog
from prometheus_client import Gauge

from shared.ids import new_id
from shared.process.redis import close, connect
from shared.process.tasks import end

TAKE_SECONDS = 0.05  # no request waits longer for a decision
MISSES_MAX = 3  # after this many timeouts, Redis is considered down
BEAT_SECONDS = 1.0
PROBE_SECONDS = 0.25  # between two checks whether Redis is back
CONNECT_SECONDS = 1.0
MEMBER_SECONDS = 5  # how long a gateway counts as running after its last heartbeat
BATCH_MAX = 200
MEMBERS = "gatehouse:limits:gateways"

# Times are from Redis's clock, in whole microseconds, so the clocks of gateways do not matter. A key expires
# once it no longer affects a decision. A value too far in the future means that Redis's clock was set back,
# and is clamped.
TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full_at, answer, refused = {}, {}, false
for place, key in ipairs(KEYS) do
  local interval, span = tonumber(ARGV[2 * place - 1]), tonumber(ARGV[2 * place])
  full_at[place] = math.min(math.max(now, tonumber(redis.call('GET', key) or now)), now + span)
  local wait = math.max(0, full_at[place] + interval - now - span)
  refused = refused or wait > 0
  answer[2 * place - 1], answer[2 * place] = full_at[place] - now, wait
end
if not refused then
  for place, key in ipairs(KEYS) do
    local next_full_at = full_at[place] + tonumber(ARGV[2 * place - 1])
    redis.call('SET', key, string.format('%.0f', next_full_at), 'PX', math.ceil((next_full_at - now) / 1000))
    answer[2 * place - 1] = next_full_at - now
  end
end
return answer
"""
SIGN_IN = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('EXPIRE', KEYS[1], 3600)
return redis.call('ZCARD', KEYS[1])
"""

# With several workers, the lowest of their values is reported.
UP = Gauge(
    "gateway_limit_store_up",
    "1 while rate limits are counted as configured, 0 while each gateway counts its own share",
    multiprocess_mode="livemin",
)
UP.set(1)

log = structlog.get_logger(__name__)


class Ask(NamedTuple):
    """One limit that applies to a request; times are in microseconds."""

    key: str
    interval: int
    span: int


class Standing(NamedTuple):
    """Seconds until the bucket of one limit is full, and until it has room for a request (0 if it has)."""

    ahead: float
    wait: float


class LimitStore:
    """The counts that all gateways share while Redis is available."""

    def __init__(self, url: str, take_seconds: float = TAKE_SECONDS) -> None:
        self.is_up = False
        self.gateways = 1  # gateways that are known to share the limits
        # Imported late: most gateways run without Redis.
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.exceptions import RedisError

        self._failures = (RedisError, OSError, TimeoutError)
        self._redis = connect(url, timeout_seconds=CONNECT_SECONDS)
        # A script that is retried would count again, and the waiting request has no time for it.
        self._redis.set_retry(Retry(NoBackoff(), 0))
        self._take_seconds = take_seconds
        self._name = new_id()
        self._waiting: list[tuple[Sequence[Ask], asyncio.Future[list[Standing] | None]]] = []
        self._serving: asyncio.Task[None] | None = None
        self._one_connection = asyncio.Lock()
        self._script = ""
        self._misses = 0
        self._fewer_since: float | None = None
        self._is_told = False

    async def __aenter__(self) -> Self:
        """Register this gateway; start even without Redis, and share limits once it is available."""
        await self._beat()
        self._beating = asyncio.create_task(self._keep_beating(), name="limit-store")
        return self

    async def __aexit__(self, *_: object) -> None:
        await end([self._beating] if self._serving is None else [self._beating, self._serving])
        with suppress(*self._failures):  # if this fails, the entry expires
            async with asyncio.timeout(self._take_seconds):
                await self._redis.zrem(MEMBERS, self._name)
        with suppress(*self._failures):
            await close(self._redis)

    @property
    def state(self) -> str:
        return "shared" if self.is_up else "by share"

    async def take(self, asks: Sequence[Ask]) -> list[Standing] | None:
        """Count a request against all limits, or none if one refuses it; None if Redis is unavailable."""
        answer: asyncio.Future[list[Standing] | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((asks, answer))
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve())
        try:
            async with asyncio.timeout(self._take_seconds):
                return await answer
        except TimeoutError:
            self._misses += 1
            if self._misses >= MISSES_MAX:
                self._go_down("it does not respond in time")
            return None

    async def _serve(self) -> None:
        """Ask Redis about all waiting requests together; others may queue up meanwhile."""
        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
            found: list[list[Standing] | None] = [None] * len(batch)
            try:
                if self.is_up:
                    found = [*await self._ask([asks for asks, _ in batch])]
                    if not all(answer.done() for _, answer in batch):  # otherwise all of them have timed out
                        self._misses = 0
            except self._failures as error:
                self._go_down(error)
            for (_, answer), standings in zip(batch, found, strict=True):
                if not answer.done():
                    answer.set_result(standings)

    async def _ask(self, batch: Sequence[Sequence[Ask]]) -> list[list[Standing]]:
        async with self._one_connection, self._redis.pipeline(transaction=False) as pipeline:
            for asks in batch:
                numbers = [number for ask in asks for number in (ask.interval, ask.span)]
                pipeline.evalsha(self._script, len(asks), *(ask.key for ask in asks), *numbers)
            answers: list[list[int]] = await pipeline.execute()
        return [
            [Standing(ahead / 1e6, wait / 1e6) for ahead, wait in zip(answer[::2], answer[1::2], strict=True)]
            for answer in answers
        ]

    async def _keep_beating(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS if self.is_up else PROBE_SECONDS)
            await self._beat()

    async def _beat(self) -> None:
        """Register, count the gateways, and find out whether Redis is back."""
        redis: Any = self._redis
        try:
            async with asyncio.timeout(CONNECT_SECONDS), self._one_connection:
                if not self.is_up:
                    self._script = await redis.script_load(TAKE)
                asked = time.monotonic()
                self._note_gateways(await redis.eval(SIGN_IN, 1, MEMBERS, self._name, MEMBER_SECONDS))
        except self._failures as error:
            self._go_down(error)
        else:
            if not self.is_up and time.monotonic() - asked < self._take_seconds:
                self._go_up()

    def _note_gateways(self, number: int) -> None:
        """Accept a smaller number only after a while: gateways register one by one at a restarted Redis."""
        if number >= self.gateways:
            self.gateways, self._fewer_since = number, None
        elif self._fewer_since is None:
            self._fewer_since = time.monotonic()
        elif time.monotonic() - self._fewer_since > MEMBER_SECONDS:
            self.gateways, self._fewer_since = number, None

    def _go_up(self) -> None:
        self.is_up, self._misses, self._is_told = True, 0, False
        UP.set(1)
        log.info("limit_store_up", gateways=self.gateways)

    def _go_down(self, reason: object) -> None:
        self.is_up = False
        UP.set(0)
        if not self._is_told:
            self._is_told = True
            note = "this gateway counts its share of the shared rate limits until Redis is back"
            log.warning("limit_store_down", reason=str(reason), note=note, gateways=self.gateways)
