"""Events through Redis: one stream, one consumer group per service; the database is the source of truth.

An event leaves the outbox once every group has acknowledged it. So nothing is lost when Redis restarts, fails
over or is emptied: that starts a new incarnation (`life`), to which the outbox sends its events again. The
stream is trimmed only below the oldest entry that some group has not acknowledged.
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

from shared.data.database import Database
from shared.errors import Problem, Unavailable
from shared.events.event import Envelope
from shared.events.failpoints import reached
from shared.events.inbox import Inbox, refuse
from shared.events.outbox import Batch, Outbox
from shared.events.pace import make_room
from shared.events.signing import Signatures
from shared.ids import new_id

STREAM = "gatehouse:events"
BORN = "gatehouse:events:born"  # missing after Redis was emptied
BROKER = "*"  # the one subscriber of an outbox whose events go through Redis
READ_MAX = 100
WAIT_MILLISECONDS = 2_000
LEADER_SECONDS = 10.0
FAREWELL_SECONDS = 0.5
PAUSE_SECONDS_MIN = 0.1
PAUSE_SECONDS_MAX = 5.0
SETTLE_SECONDS = 0.5

# Checks leadership and reads in one step: a delayed reader that no longer leads reads nothing. Its successor
# first re-reads the entries that the delayed reader had not acknowledged.
_TAKE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local taken = redis.call('XREADGROUP', 'GROUP', ARGV[3], 'reader', 'COUNT', ARGV[5],
                         'STREAMS', KEYS[2], ARGV[4])
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
return {last[1] and last[1][1] or '0-0', taken}
"""
_STEP_DOWN = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"

Entry = tuple[bytes, list[bytes] | None]

log = structlog.get_logger(__name__)


class Broker:
    """The sending side: adds events to the stream, and notes when all groups have acknowledged them."""

    def __init__(self, redis: Redis, groups: Sequence[str], signatures: Signatures) -> None:
        self._redis = redis
        self._groups = groups
        self._signatures = signatures
        self._life = ""
        self._entries: list[str] = []

    async def life(self) -> str:
        if not self._life:
            async with _unavailable_if_broken():
                self._life = await self._begin()
        return self._life

    async def _begin(self) -> str:
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.set(BORN, new_id(), nx=True)
            pipeline.get(BORN)
            pipeline.info("server")
            _, born, server = await pipeline.execute()
        for group in self._groups:
            await _make_group(self._redis, group)
        return self._life_of(born, server)

    async def deliver(self, batch: Batch) -> None:
        """Send only to the incarnation that the batch was claimed for: another may need older events first.

        A watched connection is not silently replaced, so Redis cannot restart between check and send.
        """
        async with _unavailable_if_broken(), self._redis.pipeline(transaction=True) as pipeline:
            await pipeline.watch(BORN)
            if self._life_of(await pipeline.get(BORN), await pipeline.info("server")) != batch.life:
                self._life = ""
                raise Unavailable("Redis has restarted; the events it may have lost are sent first.")
            pipeline.multi()  # type: ignore[no-untyped-call]
            for body in batch.bodies:
                pipeline.xadd(STREAM, self._entry(body.encode()))
            self._entries = [_sortable(entry) for entry in await pipeline.execute()]

    def _entry(self, body: bytes) -> dict[Any, Any]:
        signatures = self._signatures
        return {"event": body, "source": signatures.source, "signature": signatures.sign(body)}

    async def was_tried(self, _error: BaseException, /) -> bool:
        """Return False: Redis only stores events; attempts are counted by the reader."""
        return False

    def settle(self, session: Session, outbox: Outbox, batch: Batch) -> None:
        outbox.sent(session, batch, self._entries)

    async def run(self, database: Database, outbox: Outbox) -> None:
        """Settle acknowledged events for as long as the service runs."""
        while True:
            await asyncio.sleep(SETTLE_SECONDS)
            if await database.read(outbox.has_sent):
                await self.acknowledge(database, outbox)

    async def acknowledge(self, database: Database, outbox: Outbox) -> None:
        """Delete from the outbox what our groups have acknowledged, and trim the stream."""
        async with _unavailable_if_broken():
            life, floors = await self._floors()
            missing = [group for group in self._groups if group not in floors]
            if missing:  # the next sender creates them
                self._life, floors = "", {}
            ours = [floors[group] for group in floors if group in self._groups]
            reached("redis: acknowledged")
            below = min(ours, default="")
            began = _time()
            while not await database.run(outbox.acknowledged, life, below):
                await make_room(began)
                began = _time()
            reached("redis: forgotten")
            if floors:
                await self._redis.xtrim(STREAM, minid=_entry(min(floors.values())), approximate=True)

    async def _floors(self) -> tuple[str, dict[str, str]]:
        """Return this Redis's incarnation, and for each group the first entry it has not acknowledged."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.get(BORN)
            pipeline.info("server")
            pipeline.xinfo_groups(STREAM)
            born, server, groups = await pipeline.execute(raise_on_error=False)
        floors: dict[str, str] = {}
        for group in [] if isinstance(groups, ResponseError) else groups:
            name, read = group["name"].decode(), group["last-delivered-id"]
            # Query this after `read`: entries delivered in between have higher ids, and those acknowledged
            # in between are no longer pending. So the result can be too low, but never too high.
            waiting = await self._redis.xpending(STREAM, name)
            floors[name] = (
                min(_after(read), _sortable(waiting["min"])) if waiting["pending"] else _after(read)
            )
        return self._life_of(born, server), floors

    def _life_of(self, born: Any, server: dict[str, Any]) -> str:
        """Return an id that changes when Redis restarts, fails over or is emptied.

        It also changes with our signing key: receivers may reject earlier entries, so they are sent again.
        """
        return f"{server['run_id']} {'' if born is None else born.decode()} {self._signatures.key_id}"


class Reader:
    """The receiving side: only one replica of a service reads, so that the order per key is kept."""

    def __init__(self, redis: Redis, signatures: Signatures, inbox: Inbox, database: Database) -> None:
        self._redis = redis
        self._signatures = signatures
        self._group = group = signatures.source
        self._inbox = inbox
        self._database = database
        self._token = new_id()
        self._leader_key = f"gatehouse:reader:{group}"

    async def run(self) -> None:
        pause = PAUSE_SECONDS_MIN
        try:
            while True:
                try:
                    async with _unavailable_if_broken():
                        if await self._lead():
                            await self._read()
                            pause = PAUSE_SECONDS_MIN
                    await asyncio.sleep(LEADER_SECONDS / 4)
                except Problem as error:
                    if pause > PAUSE_SECONDS_MIN:
                        log.warning("events_not_received", error=repr(error))
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, PAUSE_SECONDS_MAX)
        finally:
            await self._step_down()

    async def _lead(self) -> bool:
        milliseconds = int(LEADER_SECONDS * 1000)
        if await self._redis.set(self._leader_key, self._token, nx=True, px=milliseconds):
            return True
        return bool(await self._redis.get(self._leader_key) == self._token.encode())

    async def _step_down(self) -> None:
        """Let another replica read at once; if Redis does not respond, it waits for our lead to expire."""
        with suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self._redis.eval(_STEP_DOWN, 1, self._leader_key, self._token)

    async def _read(self) -> None:
        """While this replica leads, read first the unacknowledged entries, then new ones."""
        after = "0"
        while (taken := await self._take(after)) is not None:
            last, entries = taken
            if entries:
                began = _time()
                await self._receive(entries, after)
                if len(entries) == READ_MAX:
                    await make_room(began)
            elif after == "0":
                after = ">"
            else:  # everything has been read; wait for more
                await self._redis.xread({STREAM: last}, count=1, block=WAIT_MILLISECONDS)

    async def _take(self, after: str) -> tuple[bytes, list[Entry]] | None:
        """Return the stream's last entry id and our next entries; None if another replica leads."""
        milliseconds = int(LEADER_SECONDS * 1000)
        arguments = (self._token, milliseconds, self._group, after, READ_MAX)
        try:
            taken = await self._redis.eval(_TAKE, 2, self._leader_key, STREAM, *arguments)
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            await _make_group(self._redis, self._group)
            return await self._take(after)
        if taken is None:
            return None
        last, answer = taken
        return last, answer[0][1] if answer else []

    async def _receive(self, entries: list[Entry], after: str) -> None:
        attempt = 1 if after == ">" else await self._attempts()
        events = [event for number, fields in entries if (event := self._opened(number, fields)) is not None]
        try:
            await self._database.in_background(self._inbox.receive, events, attempt)
        except Unavailable:
            await self._not_an_attempt(entries, attempt)
            raise
        reached("redis: applied")
        await self._redis.xack(STREAM, self._group, *(number for number, _ in entries))

    def _opened(self, number: bytes, fields: list[bytes] | None) -> Envelope | None:
        """Return an entry's event if its signature is valid and the signer is its source; else None."""
        pairs = dict(zip(fields[::2], fields[1::2], strict=True)) if fields else {}
        body, source = pairs.get(b"event", b""), pairs.get(b"source", b"")
        signature = pairs.get(b"signature")
        if signature is None or not self._signatures.holds(source, body, signature):
            refuse("unsigned" if signature is None else "signature", stream=STREAM, entry=number.decode())
            return None
        try:
            envelope = Envelope.model_validate_json(body)
        except ValidationError:
            log.error("entry_is_no_event", stream=STREAM)  # noqa: TRY400 - it may be anything
            return None
        if envelope.source.encode() != source:
            refuse("source", topic=envelope.topic, source=envelope.source, sender=source.decode())
            return None
        return envelope

    async def _not_an_attempt(self, entries: list[Entry], attempt: int) -> None:
        """Undo the count of an attempt that failed only because our database was unreachable."""
        numbers: list[Any] = [number for number, _ in entries]
        await self._redis.xclaim(
            STREAM, self._group, "reader", 0, numbers, retrycount=attempt - 1, justid=True
        )

    async def _attempts(self) -> int:
        first = await self._redis.xpending_range(STREAM, self._group, "-", "+", 1)
        return int(first[0]["times_delivered"]) if first else 1


@asynccontextmanager
async def _unavailable_if_broken() -> AsyncIterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise Unavailable(repr(error)) from error


async def _make_group(redis: Redis, group: str) -> None:
    with suppress(ResponseError):  # it exists already
        await redis.xgroup_create(STREAM, group, id="0", mkstream=True)


def _time() -> float:
    return asyncio.get_running_loop().time()


def _sortable(entry: bytes, *, plus: int = 0) -> str:
    milliseconds, _, number = entry.decode().partition("-")
    return f"{int(milliseconds):016d}-{int(number) + plus:012d}"


def _after(entry: bytes) -> str:
    return _sortable(entry, plus=1)


def _entry(sortable: str) -> str:
    milliseconds, _, number = sortable.partition("-")
    return f"{int(milliseconds)}-{int(number)}"
