"""Events through Redis: in order, applied once; the database knows what to resend if Redis loses data."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis
from sqlalchemy import func, select

from shared.data.database import Database
from shared.errors import Unavailable
from shared.events import emit, outbox, streams
from shared.events.inbox import REFUSED, SUSPICIOUS_ATTEMPT, Inbox
from shared.events.outbox import OUTBOX, Outbox
from shared.events.poll import Poll
from shared.events.relay import Relay
from shared.events.signing import Signatures
from shared.events.streams import BORN, BROKER, READ_MAX, STREAM, Broker, Reader
from shared.process.redis import close, connect
from shared.process.tasks import end
from tests import support
from tests.bench.events.readers import done_with_everything
from tests.shared.events.conftest import METADATA, TABLES
from tests.shared.events.things import Counted, applied, apply, envelope, waiting

SECONDS = 30
SECRET, OTHER_SECRET = "4f1c83d2a6b94e07", "b86d0a51c3f24e9a"


@pytest.fixture(scope="module")
def server() -> Iterator[support.RedisServer]:
    with support.redis_server() as started:
        yield started


@pytest.fixture
async def redis(server: support.RedisServer) -> AsyncIterator[Redis]:
    async with connect(server.url, timeout_seconds=5) as client:
        await client.flushall()
        yield client


class Side:
    """One service with its own database; tests run the parts they need."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name, self.secrets = name, [SECRET]
        self.database = Database(f"sqlite:///{folder}/{name}.db")
        METADATA.create_all(self.database.engine)
        self.outbox = Outbox(TABLES, name, {Counted.topic: [BROKER]})
        self.database.session_info[OUTBOX] = self.outbox
        self.inbox = Inbox(TABLES, self.database, {Counted: apply})

    def tell(self, *numbers: int, thing: str = "a") -> None:
        with self.database.transaction() as session:
            emit(session, *(Counted(thing=thing, number=number) for number in numbers))

    def seen(self) -> list[int]:
        with self.database.transaction(write=False) as session:
            return [number for _, number in applied(session)]

    def number_waiting(self) -> int:
        with self.database.transaction(write=False) as session:
            return waiting(session)

    @asynccontextmanager
    async def sending(self, redis: Redis, *groups: str) -> AsyncIterator[None]:
        broker = Broker(redis, groups, Signatures(self.name, SECRET))
        poll = Poll(self.database)
        relay = Relay(self.database, poll, self.outbox, BROKER, broker)
        async with running(poll.run(), relay.run(), _persistent(broker, self)):
            yield

    def reader(self, redis: Redis, group: str = "one") -> Reader:
        return Reader(redis, Signatures(group, *self.secrets), self.inbox, self.database)


async def _persistent(broker: Broker, side: Side) -> None:
    while True:
        try:
            await broker.run(side.database, side.outbox)
        except Unavailable:
            await asyncio.sleep(0.1)


@asynccontextmanager
async def running(*works: Coroutine[None, None, None]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        await end(tasks)
    assert all(task.cancelled() for task in tasks)


@pytest.fixture
def side(tmp_path: Path) -> Iterator[Callable[[str], Side]]:
    made: list[Side] = []

    def make(name: str) -> Side:
        made.append(Side(tmp_path, name))
        return made[-1]

    yield make
    for one in made:
        one.database.close()


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LEADER_SECONDS", 1.0)
    monkeypatch.setattr(streams, "SETTLE_SECONDS", 0.05)
    monkeypatch.setattr(streams, "WAIT_MILLISECONDS", 200)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - it watches another thread or a database
            await asyncio.sleep(0.01)


async def test_events_arrive_in_order_and_are_deleted_once_all_groups_have_them(
    redis: Redis, side: Callable[[str], Side]
) -> None:
    teller, one, two = side("teller"), side("one"), side("two")
    async with (
        teller.sending(redis, "one", "two"),
        running(one.reader(redis).run(), two.reader(redis, "two").run()),
    ):
        for number in range(500):
            teller.tell(number, thing=str(number % 7))
        await until(lambda: len(one.seen()) == len(two.seen()) == 500)
        await until(lambda: teller.number_waiting() == 0)

    assert one.seen() == two.seen() == [*range(500)]


async def test_lagging_group_keeps_events_in_outbox_and_stream(
    redis: Redis, side: Callable[[str], Side]
) -> None:
    """The same holds for a group unknown to the sender, such as one of a newer version of the suite."""
    teller, one, late, unknown = side("teller"), side("one"), side("late"), side("unknown")
    await redis.xgroup_create(STREAM, "unknown", id="0", mkstream=True)
    async with teller.sending(redis, "one", "late"), running(one.reader(redis).run()):
        teller.tell(*range(300))
        await until(lambda: len(one.seen()) == 300)
        assert teller.number_waiting() == 300
        async with running(late.reader(redis, "late").run()):
            await until(lambda: teller.number_waiting() == 0)
        async with running(unknown.reader(redis, "unknown").run()):
            await until(lambda: len(unknown.seen()) == 300)

    assert late.seen() == unknown.seen() == [*range(300)]


async def test_group_whose_events_a_benchmark_acknowledges_delays_nothing(
    redis: Redis, server: support.RedisServer, side: Callable[[str], Side]
) -> None:
    teller, one = side("teller"), side("one")
    with done_with_everything(server.url, ["absent"]):
        async with teller.sending(redis, "one", "absent"), running(one.reader(redis).run()):
            teller.tell(*range(300))
            await until(lambda: len(one.seen()) == 300)
            await until(lambda: teller.number_waiting() == 0)


async def test_backlog_leaves_room_for_requests_between_full_batches(
    redis: Redis, side: Callable[[str], Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    """This holds while the backlog is read and while acknowledged events are deleted."""
    rooms: list[float] = []

    async def make_room(began: float) -> None:
        rooms.append(began)

    monkeypatch.setattr(streams, "make_room", make_room)
    teller, one = side("teller"), side("one")
    async with teller.sending(redis, "one"):
        teller.tell(*range(2 * READ_MAX + 1))
        await until(lambda: number_sent(teller) == 2 * READ_MAX + 1)
        async with running(one.reader(redis).run()):
            await until(lambda: len(one.seen()) == 2 * READ_MAX + 1)
            assert len(rooms) == 2
            await until(lambda: teller.number_waiting() == 0)

        monkeypatch.setattr(outbox, "FORGOTTEN_MAX", 2)
        teller.tell(*range(5))
        await until(lambda: number_sent(teller) == 5)
        async with running(one.reader(redis).run()):
            await until(lambda: teller.number_waiting() == 0)
    assert len(rooms) == 4


def number_sent(side: Side) -> int:
    table = TABLES.outbox
    sent = select(func.count()).select_from(table).where(table.c.sent_as.is_not(None))
    with side.database.transaction(write=False) as session:
        return session.connection().execute(sent).scalar_one()


async def test_stream_is_trimmed_once_all_groups_have_acknowledged(
    redis: Redis, side: Callable[[str], Side]
) -> None:
    teller, one = side("teller"), side("one")
    async with teller.sending(redis, "one"), running(one.reader(redis).run()):
        for number in range(20):
            teller.tell(*range(number * 100, number * 100 + 100))
        await until(lambda: len(one.seen()) == 2000)
        await until(lambda: teller.number_waiting() == 0)
        teller.tell(2000)
        await until(lambda: teller.number_waiting() == 0)

    assert await redis.xlen(STREAM) < 500  # Redis trims whole nodes of about a hundred entries


async def test_only_one_replica_reads_until_another_takes_over(
    redis: Redis, side: Callable[[str], Side]
) -> None:
    teller, one = side("teller"), side("one")
    first, second = one.reader(redis), one.reader(redis)
    async with teller.sending(redis, "one"):
        async with running(first.run()):
            teller.tell(1)
            await until(lambda: one.seen() == [1])
            assert not await second._lead()
        # The first reader has stepped down at its end; a killed one would lead until its lead expires.
        assert await second._lead()
        async with running(first.run()):
            teller.tell(2)
            await until(lambda: one.seen() == [1, 2])


async def test_reader_that_no_longer_leads_reads_nothing(redis: Redis, side: Callable[[str], Side]) -> None:
    teller, one = side("teller"), side("one")
    slow, other = one.reader(redis), one.reader(redis)
    async with teller.sending(redis, "one"):
        assert await slow._lead()
        teller.tell(1)
        await until(lambda: _is_sent(teller))
        taken = await slow._take(">")
        assert taken is not None
        await redis.delete(slow._leader_key)  # it was delayed for longer than its lead lasts
        teller.tell(2)
        async with running(other.run()):
            await until(lambda: one.seen() == [1, 2])
            assert await slow._take(">") is None
            await slow._receive(taken[1], ">")

    assert one.seen() == [1, 2]


def _is_sent(side: Side) -> bool:
    with side.database.transaction(write=False) as session:
        return side.outbox.has_sent(session)


async def test_stream_entry_that_is_not_an_event_is_skipped(
    redis: Redis, side: Callable[[str], Side]
) -> None:
    teller, one = side("teller"), side("one")
    await redis.xadd(STREAM, signed("{"))
    await redis.xadd(STREAM, {"something": "else"})
    for field in ("id", "key"):  # PostgreSQL could not even park these, and later events would wait forever
        body = envelope(9).model_copy(update={field: "a\0"}).model_dump_json()
        await redis.xadd(STREAM, signed(body))
    async with teller.sending(redis, "one"), running(one.reader(redis).run()):
        teller.tell(1)
        await until(lambda: teller.number_waiting() == 0)

    assert one.seen() == [1]


def signed(body: str, *, source: str = "test", secret: str = SECRET) -> dict[Any, Any]:
    return {
        "event": body,
        "source": source,
        "signature": Signatures(source, secret).sign(body.encode()),
    }


def refused(reason: str) -> float:
    return float(REFUSED.labels(reason)._value.get())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"signature": None}, "unsigned"),
        ({"signature": "0" * 64}, "signature"),
        ({"signature": signed(envelope(8).model_dump_json())["signature"]}, "signature"),
        ({"signature": signed(envelope(9).model_dump_json(), secret=OTHER_SECRET)["signature"]}, "signature"),
        ({"source": "other"}, "signature"),
        (signed(envelope(9).model_dump_json(), source="other"), "source"),
    ],
    ids=["none", "zeros", "for another event", "with another secret", "another source", "in another's name"],
)
async def test_entry_not_signed_by_its_source_is_refused_and_blocks_nothing(
    redis: Redis, side: Callable[[str], Side], change: dict[str, Any], reason: str
) -> None:
    teller, one = side("teller"), side("one")
    entry = {**signed(envelope(9).model_dump_json()), **change}
    await redis.xadd(STREAM, {name: value for name, value in entry.items() if value is not None})
    before = refused(reason)
    async with teller.sending(redis, "one"), running(one.reader(redis).run()):
        teller.tell(1)
        await until(lambda: teller.number_waiting() == 0)

    assert one.seen() == [1]
    assert refused(reason) == before + 1


async def test_signature_with_the_previous_secret_is_accepted_during_rotation(
    redis: Redis, side: Callable[[str], Side]
) -> None:
    teller, one = side("teller"), side("one")
    one.secrets = [OTHER_SECRET, SECRET]
    async with teller.sending(redis, "one"), running(one.reader(redis).run()):
        teller.tell(1)
        await until(lambda: one.seen() == [1])


async def test_event_sent_unsigned_by_an_older_version_is_resent_with_a_signature(
    redis: Redis, side: Callable[[str], Side]
) -> None:
    teller, one = side("teller"), side("one")
    teller.tell(1)
    await redis.set(BORN, "born")
    old_life = f"{(await redis.info('server'))['run_id']} born"
    with teller.database.transaction() as session:
        batch = teller.outbox.claim(session, BROKER, old_life)
    assert batch is not None
    number: Any = await redis.xadd(STREAM, {"event": batch.bodies[0]})
    with teller.database.transaction() as session:
        teller.outbox.sent(session, batch, [streams._sortable(number)])
    teller.tell(2)
    async with teller.sending(redis, "one"), running(one.reader(redis).run()):
        await until(lambda: teller.number_waiting() == 0)

    assert one.seen() == [1, 2]


async def test_unreachable_database_does_not_count_as_an_attempt(
    redis: Redis, side: Callable[[str], Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    teller, one = side("teller"), side("one")
    attempts: list[int] = []

    def away(_events: object, attempt: int) -> None:
        attempts.append(attempt)
        raise Unavailable

    monkeypatch.setattr(streams, "PAUSE_SECONDS_MIN", 0.01)
    monkeypatch.setattr(streams, "PAUSE_SECONDS_MAX", 0.02)
    async with teller.sending(redis, "one"):
        with monkeypatch.context() as patched:
            patched.setattr(one.inbox, "receive", away)
            async with running(one.reader(redis).run()):
                teller.tell(1)
                await until(lambda: len(attempts) > SUSPICIOUS_ATTEMPT + 1)
        async with running(one.reader(redis).run()):
            await until(lambda: one.seen() == [1])

    assert {*attempts} == {1}


async def test_removed_group_is_recreated_and_no_event_is_applied_twice(
    redis: Redis, side: Callable[[str], Side]
) -> None:
    teller, one = side("teller"), side("one")
    async with teller.sending(redis, "one"), running(one.reader(redis).run()):
        teller.tell(1)
        await until(lambda: one.seen() == [1])
        await redis.xgroup_destroy(STREAM, "one")
        teller.tell(2)
        await until(lambda: teller.number_waiting() == 0)

    assert one.seen() == [1, 2]


async def test_events_lost_by_an_emptied_redis_are_resent(redis: Redis, side: Callable[[str], Side]) -> None:
    teller, one = side("teller"), side("one")
    async with teller.sending(redis, "one"):
        teller.tell(1, 2)
        await until(lambda: _is_sent(teller))
        await redis.flushall()
        teller.tell(3)
        async with running(one.reader(redis).run()):
            await until(lambda: len(one.seen()) == 3)
            await until(lambda: teller.number_waiting() == 0)

    assert one.seen() == [1, 2, 3]


async def test_redis_that_loses_its_last_second_loses_no_event(
    tmp_path: Path, side: Callable[[str], Side]
) -> None:
    """Redis restarts with the first events but not the later ones, as after a power cut with `everysec`."""
    teller, one = side("teller"), side("one")
    with support.redis_server("--save", "", "--appendonly", "yes", "--appendfsync", "always") as server:
        async with connect(server.url, timeout_seconds=5) as redis, teller.sending(redis, "one"):
            teller.tell(1)
            await until(lambda: _is_sent(teller))
            log = next(server.folder.rglob("*.incr.aof"))
            kept = log.stat().st_size
            teller.tell(2, 3)
            await until(lambda: _entries(log) >= 3)
            server.kill()
            os.truncate(log, kept)
            server.start()
            teller.tell(4)
            async with running(one.reader(redis).run()):
                await until(lambda: len(one.seen()) == 4)
                await until(lambda: teller.number_waiting() == 0)

    assert one.seen() == [1, 2, 3, 4]


def _entries(log: Path) -> int:
    return log.read_bytes().lower().count(b"xadd")


async def test_events_wait_but_requests_do_not_while_redis_is_down(
    tmp_path: Path, side: Callable[[str], Side]
) -> None:
    teller, one = side("teller"), side("one")
    with support.redis_server() as server:
        async with (
            connect(server.url, timeout_seconds=5) as redis,
            teller.sending(redis, "one"),
            running(one.reader(redis).run()),
        ):
            teller.tell(1)
            await until(lambda: one.seen() == [1])
            server.kill()
            teller.tell(2, 3)
            server.start()
            await until(lambda: teller.number_waiting() == 0)

    assert one.seen() == [1, 2, 3]


@pytest.mark.prove
async def test_replica_takes_over_through_a_sentinel(tmp_path: Path, side: Callable[[str], Side]) -> None:
    teller, one = side("teller"), side("one")
    with (
        support.redis_server("--save", "", "--repl-diskless-sync-delay", "0") as master,
        support.redis_server("--save", "", "--replicaof", *_address(master)) as replica,
    ):
        async with connect(replica.url, timeout_seconds=5) as watching:
            await _until_synchronised(watching)
        with _sentinel(tmp_path, master) as url:
            redis = connect(url, timeout_seconds=2)
            async with teller.sending(redis, "one"), running(one.reader(redis).run()):
                teller.tell(1)
                await until(lambda: one.seen() == [1])
                master.kill()
                teller.tell(2, 3)
                await until(lambda: teller.number_waiting() == 0)
            await close(redis)

    assert one.seen() == [1, 2, 3]


def _address(server: support.RedisServer) -> list[str]:
    parts = urlsplit(server.url)
    return [str(parts.hostname), str(parts.port)]


async def _until_synchronised(replica: Redis) -> None:
    async with asyncio.timeout(SECONDS):
        while (await replica.info("replication"))["master_link_status"] != "up":  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@contextmanager
def _sentinel(folder: Path, master: support.RedisServer) -> Iterator[str]:
    """Run a Sentinel that notices a failure within half a second; yield the URL for clients."""
    (program,) = support.need("redis-server")
    port = support.free_port()
    lines = [
        f"port {port}",
        "bind 127.0.0.1",
        f"sentinel monitor events {' '.join(_address(master))} 1",
        "sentinel down-after-milliseconds events 500",
    ]
    file = folder / "sentinel.conf"
    file.write_text("\n".join(lines))
    process = subprocess.Popen([program, str(file), "--sentinel"], stdout=subprocess.DEVNULL)
    try:
        yield f"redis+sentinel://127.0.0.1:1,127.0.0.1:{port}/events/0"  # nothing listens at the first
    finally:
        process.kill()
        process.wait()


async def test_hanging_redis_does_not_delay_the_shutdown(side: Callable[[str], Side]) -> None:
    teller, one = side("teller"), side("one")
    with support.redis_server() as server:
        async with connect(server.url, timeout_seconds=5) as redis:
            async with teller.sending(redis, "one"), running(one.reader(redis).run()):
                teller.tell(1)
                await until(lambda: one.seen() == [1])
                server.send(signal.SIGSTOP)
                teller.tell(2)
                await until(lambda: _is_leased(teller))
                began = time.monotonic()
            assert time.monotonic() - began < 2
            server.send(signal.SIGCONT)

    assert not _is_leased(teller)


def _is_leased(side: Side) -> bool:
    leased = TABLES.outbox.select().where(TABLES.outbox.c.leased_until.is_not(None))
    with side.database.transaction(write=False) as session:
        return session.connection().execute(leased).first() is not None


async def test_entries_that_are_read_again_count_as_attempts_and_new_ones_do_not() -> None:
    attempts: list[int] = []

    async def pending(*_: object) -> list[dict[str, int]]:
        return [{"times_delivered": 7}]

    async def nothing(*_: object) -> None: ...

    async def at_once(work: Callable[..., None], *arguments: object) -> None:
        work(*arguments)

    redis = SimpleNamespace(xpending_range=pending, xack=nothing)
    inbox = SimpleNamespace(receive=lambda _events, attempt: attempts.append(attempt))
    database = SimpleNamespace(in_background=at_once)
    stubs: Any = (redis, Signatures("one", SECRET), inbox, database)
    reader = Reader(*stubs)
    await reader._receive([], "0")
    await reader._receive([], ">")

    assert attempts == [7, 1]
