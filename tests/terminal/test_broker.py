"""The broker: what a service may ask of it, and what happens when either of the two ends."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from services.terminal.backends.base import BoxEvent, EventKind, Place, Start
from services.terminal.backends.docker import DockerBackend
from services.terminal.broker.child import Child
from services.terminal.broker.client import BrokerBackend
from services.terminal.broker.server import Broker, copy_holder
from services.terminal.broker.wire import SOCKET_NAME, Message, read, write
from services.terminal.errors import EngineUnavailable, ShellNotStarted
from services.terminal.links import bound, connected
from services.terminal.places import LinkFound, Places
from services.terminal.settings import HOLDER, Settings

SECONDS = 60
START = Start("0192f0c1-2345-7abc-8def-0123456789ab", "5f0c", 24, 80)


class Engine(DockerBackend):
    """A backend without an engine, which notes what it is asked to do."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.calls: list[Any] = []
        self.hangs = asyncio.Event()
        self.hangs.set()
        self.entered = asyncio.Event()

    async def adopt(self, places: Sequence[Place]) -> None:
        self.calls.append(("adopt", [place.box_id for place in places]))

    async def ensure(self, place: Place) -> None:
        self.entered.set()
        await self.hangs.wait()
        self.calls.append(("ensure", place))
        self.running[place.box_id] = "container"

    async def begin(self, place: Place, start: Start) -> None:
        self.calls.append(("begin", place, start))
        raise ShellNotStarted

    async def stop(self, place: Place) -> None:
        self.calls.append(("stop", place))

    async def describe(self) -> dict[str, str]:
        raise OSError("no space left on the device")


@pytest.fixture
def settings(make_settings: Callable[..., Any]) -> Settings:
    made: Settings = make_settings(Settings, box_backend="docker", box_broker="separate")
    return made


@asynccontextmanager
async def served(settings: Settings, engine: Engine, *users: int) -> AsyncIterator[Broker]:
    broker = Broker(engine, Places(settings), frozenset(users or (os.getuid(),)))
    server = await asyncio.start_unix_server(
        broker.serve, sock=bound(settings.root, SOCKET_NAME, 8, for_boxes=False)
    )
    try:
        yield broker
    finally:
        server.close()
        await broker.close()


@asynccontextmanager
async def client_of(settings: Settings, *places: Place) -> AsyncIterator[BrokerBackend]:
    client = BrokerBackend(settings)
    try:
        async with asyncio.timeout(SECONDS):
            await client.adopt(places)
            yield client
    finally:
        await client.close()


async def asked(settings: Settings, message: Message) -> Message | None:
    """Send one message without the client; None if the broker closes the connection."""
    reader, writer = await asyncio.open_unix_connection(sock=connected(settings.root, SOCKET_NAME))
    try:
        async with asyncio.timeout(SECONDS):
            write(writer, message)
            return await read(reader)
    except ConnectionError:
        return None
    finally:
        writer.close()


async def test_calls_name_a_box_and_the_broker_derives_its_paths(settings: Settings) -> None:
    engine, place = Engine(settings), Places(settings).of("box-1", "ann")
    async with served(settings, engine), client_of(settings) as client:
        await client.ensure(place)
        assert client.is_alive(place, "")
        with pytest.raises(ShellNotStarted):
            await client.begin(place, START)
        await client.stop(place)
        assert not client.is_alive(place, "")
    assert engine.calls == [("adopt", []), ("ensure", place), ("begin", place, START), ("stop", place)]
    assert (settings.root / SOCKET_NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "call",
    [
        {"method": "ensure", "box": {"id": "../etc", "owner": "ann"}},
        {"method": "ensure", "box": {"id": "a/b", "owner": "ann"}},
        {"method": "ensure", "box": {"id": "box", "owner": ""}},
        {"method": "ensure", "box": {"id": "box", "owner": ["ann"]}},
        {"method": "ensure", "box": "box"},
        {"method": "close", "box": {"id": "box", "owner": "ann"}},
        {"method": "run", "box": {"id": "box", "owner": "ann"}, "command": "sh", "seconds": 1},
        {"method": "run", "box": {"id": "box", "owner": "ann"}, "command": ["sh"], "seconds": 1e9},
        {"method": "begin", "box": {"id": "box", "owner": "ann"}, "start": {"terminal_id": "1"}},
        {"nothing": 1},
    ],
)
async def test_calls_that_the_service_never_makes_are_refused(settings: Settings, call: Message) -> None:
    engine = Engine(settings)
    async with served(settings, engine):
        assert await asked(settings, {"id": 1, **call}) == {"id": 1, "error": "bad_call"}
    assert engine.calls == []


async def test_owner_with_an_unsafe_id_gets_a_home_below_the_homes(settings: Settings) -> None:
    engine = Engine(settings)
    async with served(settings, engine):
        call = {"id": 1, "method": "ensure", "box": {"id": "box", "owner": "../../etc"}}
        assert await asked(settings, call) == {"id": 1, "result": None}
    ((_, place),) = engine.calls
    assert place.home.parent == settings.homes


def test_broker_in_a_container_copies_the_holder_to_where_the_engine_finds_it(settings: Settings) -> None:
    assert settings.holder.is_relative_to(settings.data_dir)
    settings.holder.mkdir(parents=True)
    (settings.holder / "main.py").write_text("of an earlier version")
    copy_holder(settings.holder)
    assert {one.name for one in settings.holder.iterdir()} == {one.name for one in HOLDER.glob("*.py")}
    for file in HOLDER.glob("*.py"):
        copied = settings.holder / file.name
        assert (copied.read_bytes(), copied.stat().st_mode & 0o777) == (file.read_bytes(), 0o644)


@pytest.mark.parametrize("linked", ["homes/ann", "homes", "boxes/box", "holder"])
async def test_separate_broker_mounts_no_directory_behind_a_link(
    settings: Settings, tmp_path: Path, linked: str
) -> None:
    target = tmp_path / "target"
    target.mkdir(mode=0o755)
    link = settings.root / linked
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    backend = DockerBackend(settings)
    try:
        with pytest.raises(LinkFound):
            await backend.ensure(Places(settings).of("box", "ann"))
    finally:
        await backend.close()
    assert (target.stat().st_mode & 0o777, [*target.iterdir()]) == (0o755, [])


def test_holder_is_not_written_through_a_link(settings: Settings, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("kept")
    settings.holder.mkdir(parents=True)
    (settings.holder / ".main.py").symlink_to(kept)
    copy_holder(settings.holder)
    assert kept.read_text() == "kept"
    assert not (settings.holder / "main.py").is_symlink()


async def test_client_connects_again_after_a_connection_that_could_not_be_used(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = asyncio.Event()
    open_connection = asyncio.open_unix_connection

    async def fail_once(*args: Any, **options: Any) -> Any:
        if not tried.is_set():
            tried.set()
            raise ConnectionResetError
        return await open_connection(*args, **options)

    engine = Engine(settings)
    monkeypatch.setattr(asyncio, "open_unix_connection", fail_once)
    async with served(settings, engine), client_of(settings) as client:
        assert tried.is_set()
        await client.ensure(Places(settings).of("box", "ann"))
    assert len(engine.calls) == 2


async def test_processes_of_other_users_are_refused(settings: Settings) -> None:
    engine = Engine(settings)
    async with served(settings, engine, os.getuid() + 1):
        assert await asked(settings, {"id": 1, "method": "describe"}) is None
    assert engine.calls == []


async def test_call_that_fails_for_any_other_reason_still_gets_a_response(settings: Settings) -> None:
    async with served(settings, Engine(settings)):
        answer = await asked(settings, {"id": 1, "method": "describe"})
    assert answer == {"id": 1, "error": "engine_unavailable"}


async def test_client_that_is_refused_waits_longer_before_each_new_connection(settings: Settings) -> None:
    pauses, are_enough = list[float](), asyncio.Event()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 8:
            are_enough.set()
            await asyncio.Event().wait()

    async with served(settings, Engine(settings), os.getuid() + 1), client_of_later(settings) as client:
        client.sleep = sleep
        adopting = asyncio.create_task(client.adopt([]))
        await are_enough.wait()
        adopting.cancel()
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]


async def test_calls_fail_when_the_broker_ends_and_a_new_one_learns_what_should_run(
    settings: Settings,
) -> None:
    places = Places(settings)
    kept, lost = places.of("kept", "ann"), places.of("lost", "bob")
    events: list[BoxEvent] = []
    first, second = Engine(settings), Engine(settings)
    first.running = {"kept": "1", "lost": "2"}
    second.running = {"kept": "1"}
    async with client_of_later(settings) as client:
        client.on_event = events.append
        async with served(settings, first):
            await client.adopt([kept, lost])
            first.hangs.clear()
            call = asyncio.create_task(client.ensure(kept))
            await first.entered.wait()
        with pytest.raises(EngineUnavailable):
            await call
        async with served(settings, second):
            await client.stop(places.of("none", "ann"))  # waits until it is connected again
            assert second.calls[0] == ("adopt", ["kept", "lost"])
            assert client.is_alive(kept, "")
            assert not client.is_alive(lost, "")
    assert events == [BoxEvent("lost", EventKind.DIED)]


@asynccontextmanager
async def client_of_later(settings: Settings) -> AsyncIterator[BrokerBackend]:
    """A client that the test connects itself."""
    client = BrokerBackend(settings)
    try:
        async with asyncio.timeout(SECONDS):
            yield client
    finally:
        await client.close()


async def test_events_of_the_engine_reach_the_service(settings: Settings) -> None:
    engine, events = Engine(settings), asyncio.Queue[BoxEvent]()
    engine.running = {"box": "container"}
    async with served(settings, engine), client_of(settings, Places(settings).of("box", "ann")) as client:
        client.on_event = events.put_nowait
        engine._note("oom", "box", "container")
        engine._note("die", "box", "an earlier container")
        engine._note("die", "another", "container")
        engine._note("die", "box", "container")
        assert await events.get() == BoxEvent("box", EventKind.OUT_OF_MEMORY)
        assert await events.get() == BoxEvent("box", EventKind.DIED)
        assert client.running == set()
    assert events.empty()


async def test_broker_that_ends_at_once_is_started_again_after_longer_and_longer_pauses() -> None:
    child, pauses, time = Child(["false"]), list[float](), [0.0]

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    child.sleep, child.clock = sleep, lambda: time[0]
    with structlog.testing.capture_logs() as logged:
        for ran in (0, 0, 0, 0, 0, 0, 0, 0, 0, 11, 0):
            await child.ensure()
            assert child.process is not None
            await child.process.wait()
            time[0] += ran
        await child.ensure()
        await child.close()
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, 0.1, 0.2]
    assert logged[0]["event"] == "broker_ended"
    assert [one["restart_seconds"] for one in logged] == pauses
    assert {one["exit_code"] for one in logged} == {1}


@pytest.mark.prove
async def test_service_starts_its_own_broker_again_after_it_was_killed_and_ends_it(
    make_settings: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(Settings, box_backend="docker", docker_socket="/nowhere.sock")
    monkeypatch.setenv("DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("DOCKER_SOCKET", "/nowhere.sock")
    monkeypatch.setenv("BOX_BACKEND", "docker")
    place = Places(settings).of("box", "ann")
    async with client_of(settings) as client:
        assert client._child is not None
        first = client._child.process
        assert first is not None
        with pytest.raises(EngineUnavailable):
            await client.ensure(place)
        first.kill()
        await first.wait()
        with pytest.raises(EngineUnavailable):
            await client.describe()
        second = client._child.process
        assert second is not None
        assert second.pid != first.pid
    assert second.returncode == 0
