"""Events through Redis: one stream, one consumer group per service, and a database that stays the truth.

An event leaves the outbox when every group has acknowledged it, so a Redis that was restarted, failed over
or emptied loses nothing: what it was given in an earlier life is given again. The stream is cut only below
what all groups are done with.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog
from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError
from sqlmodel import Session

from shared.database import Database
from shared.errors import Problem, Unavailable
from shared.events.event import Envelope
from shared.events.inbox import Inbox
from shared.events.outbox import Batch, Outbox
from shared.ids import new_id

STREAM = "gatehouse:events"
BORN = "gatehouse:events:born"  # gone when somebody has emptied Redis
BROKER = "*"  # the one subscriber of an outbox whose events go through Redis
READ_MAX = 200
WAIT_MILLISECONDS = 2_000
LEADER_SECONDS = 10
PAUSE_SECONDS_MAX = 5.0
SETTLE_SECONDS = 0.5

log = structlog.get_logger(__name__)


class Broker:
    """The sending side: puts events into the stream, and learns when all groups are done with them."""

    def __init__(self, redis: Redis, groups: Sequence[str]) -> None:
        self._redis = redis
        self._groups = groups
        self._sent: tuple[str, list[str]] = ("", [])
        self._known_life = ""

    async def deliver(self, batch: Batch) -> None:
        async with _unavailable_if_broken(), self._redis.pipeline(transaction=True) as pipeline:
            pipeline.set(BORN, new_id(), nx=True)
            pipeline.get(BORN)
            pipeline.info("server")
            for body in batch.bodies:
                pipeline.xadd(STREAM, {"event": body})
            _, born, server, *entries = await pipeline.execute()
        self._sent = (_life(born, server), [_sortable(entry) for entry in entries])
        if self._sent[0] != self._known_life:
            self._known_life = self._sent[0]
            await self._make_groups()

    def settle(self, session: Session, outbox: Outbox, batch: Batch) -> None:
        outbox.sent(session, batch, *self._sent)

    async def run(self, database: Database, outbox: Outbox) -> None:
        """Acknowledge for as long as the service runs."""
        while True:
            await asyncio.sleep(SETTLE_SECONDS)
            try:
                await self.acknowledge(database, outbox)
            except Problem as error:
                log.warning("events_not_acknowledged", error=repr(error))
                await asyncio.sleep(PAUSE_SECONDS_MAX)

    async def acknowledge(self, database: Database, outbox: Outbox) -> None:
        """Forget in the outbox, and cut from the stream, what all groups are done with."""
        async with _unavailable_if_broken():
            life, floor = await self._floor()
            await database.run(outbox.acknowledged, life, floor)
            if floor.strip("0-"):
                milliseconds, _, number = floor.partition("-")
                await self._redis.xtrim(STREAM, minid=f"{int(milliseconds)}-{int(number)}", approximate=True)

    async def _floor(self) -> tuple[str, str]:
        """The life of this Redis, and the first entry that not every group is done with."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.get(BORN)
            pipeline.info("server")
            pipeline.xinfo_groups(STREAM)
            for group in self._groups:
                pipeline.xpending(STREAM, group)
            born, server, groups, *pending = await pipeline.execute(raise_on_error=False)
        life = _life(born, server)
        if isinstance(groups, ResponseError) or any(isinstance(one, ResponseError) for one in pending):
            return life, _sortable(b"0-0")  # no stream yet, or no such group: nobody is done with anything
        read = {one["name"].decode(): one["last-delivered-id"] for one in groups}
        floors = [
            _sortable(waiting["min"]) if waiting["pending"] else _after(read[group])
            for group, waiting in zip(self._groups, pending, strict=True)
        ]
        return life, min(floors, default=_sortable(b"0-0"))

    async def _make_groups(self) -> None:
        async with _unavailable_if_broken():
            for group in self._groups:
                await _make_group(self._redis, group)


class Reader:
    """The receiving side: of all replicas of a service one reads, so that the order of a key is kept."""

    def __init__(self, redis: Redis, group: str, inbox: Inbox, database: Database) -> None:
        self._redis = redis
        self._group = group
        self._inbox = inbox
        self._database = database
        self._token = new_id()
        self._leader_key = f"gatehouse:reader:{group}"

    async def run(self) -> None:
        pause = 0.1
        while True:
            try:
                if await self._leads():
                    await self._read_all()
                    pause = 0.1
                else:
                    await asyncio.sleep(LEADER_SECONDS / 4)
            except (RedisError, OSError, Problem) as error:
                if isinstance(error, ResponseError) and "NOGROUP" in str(error):
                    await self._begin_again()
                    continue
                log.warning("events_not_received", error=repr(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, PAUSE_SECONDS_MAX)

    async def _begin_again(self) -> None:
        with suppress(RedisError, OSError):
            await _make_group(self._redis, self._group)

    async def _read_all(self) -> None:
        """First what an earlier reader took and did not acknowledge, then what is new."""
        while await self._leads() and await self._read("0"):
            pass
        while await self._leads():
            await self._read(">")

    async def _read(self, after: str) -> bool:
        answer: Any = await self._redis.xreadgroup(
            self._group, "reader", {STREAM: after}, count=READ_MAX, block=WAIT_MILLISECONDS
        )
        entries: list[tuple[bytes, dict[bytes, bytes]]] = answer[0][1] if answer else []
        if not entries:
            return False
        events = [event for _, fields in entries if (event := _opened(fields)) is not None]
        await self._database.in_thread(self._inbox.receive, events, await self._attempts(after))
        await self._redis.xack(STREAM, self._group, *(number for number, _ in entries))
        return True

    async def _attempts(self, after: str) -> int:
        if after == ">":
            return 1
        first = await self._redis.xpending_range(STREAM, self._group, "-", "+", 1)
        return int(first[0]["times_delivered"]) if first else 1

    async def _leads(self) -> bool:
        """Whether this process is the one that reads; asking prolongs it."""
        milliseconds = LEADER_SECONDS * 1000
        if await self._redis.set(self._leader_key, self._token, nx=True, px=milliseconds):
            return True
        holder = await self._redis.get(self._leader_key)
        if holder != self._token.encode():
            return False
        await self._redis.pexpire(self._leader_key, milliseconds)
        return True

    async def stop(self) -> None:
        """Let another replica read at once."""
        with suppress(RedisError, OSError):
            if await self._redis.get(self._leader_key) == self._token.encode():
                await self._redis.delete(self._leader_key)


@asynccontextmanager
async def _unavailable_if_broken() -> AsyncIterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise Unavailable(repr(error)) from error


async def _make_group(redis: Redis, group: str) -> None:
    with suppress(ResponseError):  # it exists
        await redis.xgroup_create(STREAM, group, id="0", mkstream=True)


def _opened(fields: dict[bytes, bytes]) -> Envelope | None:
    try:
        return Envelope.model_validate_json(fields[b"event"])
    except (KeyError, ValidationError):
        log.error("entry_is_no_event", stream=STREAM)  # noqa: TRY400 - it may be anything
        return None


def _life(born: bytes | None, server: dict[str, Any]) -> str:
    """Changes when Redis was started anew, when another one took over, and when it was emptied."""
    return f"{server['run_id']} {'' if born is None else born.decode()}"


def _sortable(entry: bytes) -> str:
    milliseconds, _, number = entry.decode().partition("-")
    return f"{int(milliseconds):016d}-{int(number):012d}"


def _after(entry: bytes) -> str:
    milliseconds, _, number = entry.decode().partition("-")
    return f"{int(milliseconds):016d}-{int(number) + 1:012d}"
