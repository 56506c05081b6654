"""Delivery over HTTP: waiting events are not blamed for a subscriber that is down, starting or slow."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlmodel import Session
from structlog.testing import capture_logs

from shared.data.database import Database
from shared.errors import Unavailable
from shared.events import emit, poll, relay
from shared.events.outbox import OUTBOX, Outbox
from shared.events.pace import GATHER_SECONDS, GATHER_UNDER_LOAD_SECONDS, LOAD_EVENTS, Gathering
from shared.events.poll import Poll
from shared.events.relay import Direct, Relay
from shared.peers import client
from shared.peers.client import HttpClient, Peer
from shared.process.tasks import end
from shared.testing import TEST_INTERNAL_SECRET
from tests.shared.events.conftest import METADATA, TABLES
from tests.shared.events.things import Counted, waiting
from tests.shared.notes.app import Settings
from tests.support import free_port

SECONDS = 20


class Subscriber:
    """Handles each request as the test says: respond with a status, hang, or drop the connection."""

    def __init__(self) -> None:
        self.port = free_port()
        self.what: Callable[[int], str] = lambda _number: "204"
        self.received: list[tuple[int, int]] = []  # the attempt, and how many events
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def with_events(self) -> list[int]:
        return [attempt for attempt, number in self.received if number]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length:")[2].split()[0])
                body = json.loads(await reader.readexactly(length))
                number = len(body["events"])
                self.received.append((body.get("attempt", 1), number))
                what = self.what(number)
                if what == "drop":
                    return
                if what != "hang":
                    writer.write(f"HTTP/1.1 {what} x\r\ncontent-length: 0\r\n\r\n".encode())
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def subscriber() -> AsyncIterator[Subscriber]:
    made = Subscriber()
    yield made
    await made.stop()


@pytest.fixture
def teller(tmp_path: Path) -> Iterator[tuple[Database, Outbox]]:
    database = Database(f"sqlite:///{tmp_path}/teller.db")
    METADATA.create_all(database.engine)
    outbox = Outbox(TABLES, "teller", {Counted.topic: ["one"]})
    database.session_info[OUTBOX] = outbox
    with database.transaction() as session:
        emit(session, *(Counted(thing="a", number=number) for number in range(3)))
    yield database, outbox
    database.close()


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poll, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(relay, "PAUSE_SECONDS_MIN", 0.02)
    monkeypatch.setattr(relay, "PAUSE_SECONDS_MAX", 0.05)
    monkeypatch.setitem(client._TIMEOUTS, "read", 0.3)


class CountingCalls(Direct):
    calls = 0

    async def _call(self, body: bytes) -> None:
        self.calls += 1
        await super()._call(body)


@asynccontextmanager
async def sending(subscriber: Subscriber, teller: tuple[Database, Outbox]) -> AsyncIterator[CountingCalls]:
    database, outbox = teller
    settings = Settings.model_validate({"internal_secret": TEST_INTERNAL_SECRET})
    http = HttpClient()
    peer = Peer.of(settings, http, name="one", url=f"http://127.0.0.1:{subscriber.port}")
    transport = CountingCalls(peer)
    polling = Poll(database)
    running = Relay(database, polling, outbox, "one", transport).run(), polling.run()
    tasks = [asyncio.create_task(each) for each in running]
    try:
        yield transport
    finally:
        await end(tasks)
        await http.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - it watches another thread or a server
            await asyncio.sleep(0.01)


def number_waiting(teller: tuple[Database, Outbox]) -> int:
    with teller[0].transaction(write=False) as session:
        return waiting(session)


async def test_refused_connection_does_not_count_as_an_attempt(
    subscriber: Subscriber, teller: tuple[Database, Outbox]
) -> None:
    async with sending(subscriber, teller) as transport:
        await until(lambda: transport.calls > 6)
        await subscriber.start()
        await until(lambda: number_waiting(teller) == 0)

    assert subscriber.received == [(1, 0), (1, 3)]


async def test_status_503_does_not_count_as_an_attempt_and_is_probed_without_events(
    subscriber: Subscriber, teller: tuple[Database, Outbox]
) -> None:
    subscriber.what = lambda _number: "503" if len(subscriber.received) < 8 else "204"
    await subscriber.start()
    async with sending(subscriber, teller):
        await until(lambda: number_waiting(teller) == 0)

    assert subscriber.received == [(1, 3), *[(1, 0)] * 7, (1, 3)]


async def test_events_are_not_blamed_for_a_subscriber_that_never_responds(
    subscriber: Subscriber, teller: tuple[Database, Outbox]
) -> None:
    subscriber.what = lambda _number: "hang" if len(subscriber.received) < 4 else "204"
    await subscriber.start()
    async with sending(subscriber, teller):
        await until(lambda: number_waiting(teller) == 0)

    assert subscriber.with_events() == [1, 1]


@pytest.mark.parametrize("what", ["drop", "hang"])
async def test_unanswered_deliveries_count_as_attempts(
    subscriber: Subscriber, teller: tuple[Database, Outbox], what: str
) -> None:
    """The subscriber drops or ignores only requests with events; it is sent the number of the attempt."""
    subscriber.what = lambda number: what if number and subscriber.with_events()[-1] < 4 else "204"
    await subscriber.start()
    async with sending(subscriber, teller):
        await until(lambda: number_waiting(teller) == 0)

    assert subscriber.with_events() == [1, 2, 3, 4]


async def test_commit_wakes_the_relay_without_waiting_for_the_next_poll(
    subscriber: Subscriber, teller: tuple[Database, Outbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    await subscriber.start()
    async with sending(subscriber, teller):
        await until(lambda: number_waiting(teller) == 0)
        monkeypatch.setattr(poll, "LOOK_SECONDS", 1000 * SECONDS)
        for number in range(2):  # the first may be found by a poll that has begun already
            with teller[0].transaction() as session:
                emit(session, Counted(thing="b", number=number))
            await until(lambda: number_waiting(teller) == 0)


async def test_failed_poll_is_followed_by_the_next(
    subscriber: Subscriber, teller: tuple[Database, Outbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, has_waiting = 0, Outbox.has_waiting

    def fails_at_first(self: Outbox, session: Session, subscriber: str) -> bool:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise Unavailable
        return has_waiting(self, session, subscriber)

    monkeypatch.setattr(Outbox, "has_waiting", fails_at_first)
    await subscriber.start()
    async with sending(subscriber, teller):
        await until(lambda: number_waiting(teller) == 0)

    assert asked >= 3


def test_unreachable_subscriber_is_logged_once_a_minute_but_not_at_first(
    teller: tuple[Database, Outbox],
) -> None:
    clock = SimpleNamespace(at=0.0)
    watched: Any = Relay(teller[0], Poll(teller[0]), teller[1], "one", CountingCalls(cast("Peer", None)))
    watched._loop = SimpleNamespace(time=lambda: clock.at)
    logged = []
    for watched._pause, clock.at in ((0.02, 0.0), (0.05, 0.5), (0.05, 60.5), (0.05, 60.6), (0.05, 100.0)):
        with capture_logs() as lines:
            watched._log(Unavailable())
        logged.append([(line["event"], line["subscriber"]) for line in lines])

    line = [("events_not_delivered", "one")]
    assert logged == [[], line, [], line, []]


async def test_subscriber_that_responds_is_not_probed(
    subscriber: Subscriber, teller: tuple[Database, Outbox]
) -> None:
    await subscriber.start()
    async with sending(subscriber, teller):
        await until(lambda: number_waiting(teller) == 0)
        with teller[0].transaction() as session:
            emit(session, Counted(thing="b", number=1))
        await until(lambda: number_waiting(teller) == 0)

    assert subscriber.received == [(1, 3), (1, 1)]


class TestGathering:
    def test_single_events_are_hardly_delayed(self) -> None:
        gathering = Gathering()
        assert gathering.seconds(1000.0) == GATHER_SECONDS
        for at in range(1000, 1010):
            gathering.note(LOAD_EVENTS - 1, float(at))
            assert gathering.seconds(at + 0.1) == GATHER_SECONDS

    @pytest.mark.parametrize("pause", [0.06, 0.25])
    def test_steady_load_is_gathered_for_longer_however_small_its_deliveries_are(self, pause: float) -> None:
        gathering, at = Gathering(), 1000.0
        for _ in range(100):
            at += pause
            gathering.note(1 if pause < 0.1 else 4, at)

        assert gathering.seconds(at) == GATHER_UNDER_LOAD_SECONDS
        assert gathering.seconds(at + 1) == GATHER_SECONDS

    def test_burst_is_followed_by_a_longer_pause(self) -> None:
        gathering = Gathering()
        gathering.note(100, 1000.0)

        assert gathering.seconds(1000.5) == GATHER_UNDER_LOAD_SECONDS
        assert gathering.seconds(1000.95) == GATHER_SECONDS
