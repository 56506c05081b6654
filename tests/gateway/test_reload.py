"""A changed routes.yaml takes effect without disturbing requests in flight."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

import gateway.runtime.reload
from tests.gateway.backends import Backend, Conversation
from tests.gateway.conftest import Start, StartBackend
from tests.gateway.support import RunningGateway, eventually

RELOADS = int(os.environ.get("RELOADS", "200"))
CLIENTS = 8


def routes(*lines: str) -> str:
    return "\n".join(["routes:", *(f"  - {{{line}}}" for line in lines)])


def one(path: str, backend: Backend, more: str = "rate_limit: {rate: 1000000/s}") -> str:
    return f"path: {path}, backend: '{backend.url}', auth: none, {more}"


async def test_new_file_applies_from_the_next_request_on(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    old, new = await start_backend(), await start_backend()
    running = await start_gateway(routes(one("/a", old), one("/gone", old)))
    wire = await running.connect()
    assert (await wire.request("GET", "/a")).status == 200
    running.write(routes(one("/a", new), one("/b", new)))
    with capture_logs() as lines:
        outcome = await running.reload.now()
    assert (outcome.success, outcome.changed) == (True, True)
    (line,) = [line for line in lines if line["event"] == "routes_reloaded"]
    assert (line["added"], line["removed"], line["changed"]) == (["b"], ["gone"], ["a"])
    assert (await wire.request("GET", "/a")).status == 200
    assert (await wire.request("GET", "/b")).status == 200
    assert (await wire.request("GET", "/gone")).status == 404
    assert [request.target for request in new.received] == ["/a", "/b"]


async def test_invalid_file_is_refused_completely_and_every_fault_is_logged(
    start_gateway: Start, backend: Backend
) -> None:
    running = await start_gateway(routes(one("/a", backend)))
    table = running.state.table
    good = running.file.read_text()
    running.write("routes:\n  - {path: /b, backend: 'http://b'}\n  - {path: c, backend: d, metods: []}\n")
    with capture_logs() as lines:
        outcome = await running.reload.now()
    assert not outcome.success
    assert [fault.partition(" ")[0].rpartition("routes.yaml")[2] for fault in outcome.faults] == [
        ":3:12",
        ":3:24",
        ":3:27",
    ]
    (line,) = [line for line in lines if line["event"] == "routes_refused"]
    assert line["faults"] == list(outcome.faults)
    assert line["log_level"] == "error"
    assert running.state.table is table
    assert (await running.request("GET", "/a")).status == 200
    assert (await running.request("GET", "/b")).status == 404
    assert REGISTRY.get_sample_value("gateway_config_reload_success") == 0
    running.write(good)
    assert (await running.reload.now()).changed is False
    assert REGISTRY.get_sample_value("gateway_config_reload_success") == 1


@pytest.mark.parametrize("text", ["", "[" * 5000, "routes: [", "\x00", "- a"])
async def test_gateway_survives_every_kind_of_broken_file(
    start_gateway: Start, backend: Backend, text: str
) -> None:
    running = await start_gateway(routes(one("/a", backend)))
    running.write(text)
    assert (await running.reload.now()).faults
    running.file.unlink()
    assert "cannot be read" in (await running.reload.now()).faults[0]
    assert (await running.request("GET", "/a")).status == 200


async def test_unexpected_error_during_a_reload_changes_nothing(
    start_gateway: Start, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    running = await start_gateway(routes(one("/a", backend)))
    monkeypatch.setattr(gateway.runtime.reload, "parse", fails)
    with capture_logs() as lines:
        assert not (await running.reload.now()).success
    assert "routes_not_read" in [line["event"] for line in lines]
    assert (await running.request("GET", "/a")).status == 200


async def test_file_is_watched_for_changes(
    start_gateway: Start, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.runtime.reload, "POLL_SECONDS", 0.02)
    running = await start_gateway(routes(one("/a", backend)))
    running.write(routes(one("/b", backend)))
    await eventually(lambda: running.state.table.routes[0].path == b"/b")
    running.file.unlink()
    await eventually(lambda: not running.reload.outcome.success)
    running.write(routes(one("/c", backend)))
    await eventually(lambda: running.state.table.routes[0].path == b"/c")


async def test_change_of_a_mounted_config_map_is_noticed(
    start_gateway: Start, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kubernetes writes a new folder, and replaces the link through which all files are reached."""
    monkeypatch.setattr(gateway.runtime.reload, "POLL_SECONDS", 0.02)
    running = await start_gateway(routes(one("/a", backend)))

    def publish(number: int, text: str) -> None:
        folder = running.file.parent / f"..{number}"
        folder.mkdir()
        (folder / running.file.name).write_text(text)
        new = running.file.parent / "..data_tmp"
        new.symlink_to(folder.name)
        new.replace(running.file.parent / "..data")

    publish(1, routes(one("/b", backend)))
    running.file.unlink()
    running.file.symlink_to(f"..data/{running.file.name}")
    await eventually(lambda: running.state.table.routes[0].path == b"/b")
    publish(2, routes(one("/c", backend)))
    await eventually(lambda: running.state.table.routes[0].path == b"/c")


async def test_file_that_is_being_written_is_not_read(start_gateway: Start, backend: Backend) -> None:
    running = await start_gateway(routes(one("/a", backend)))
    watching = running.reload
    running.reload.stop()
    watching._is_changed()
    assert watching._is_changed(), "it was read at the start"
    with running.file.open("a") as half:
        for _ in range(3):
            half.write("\n# more")
            half.flush()
            assert not watching._is_changed()
    assert watching._is_changed()
    assert not watching._is_changed()


async def test_sighup_reloads_at_once(start_gateway: Start, backend: Backend) -> None:
    running = await start_gateway(routes(one("/a", backend)))
    running.write(routes(one("/b", backend)))
    os.kill(os.getpid(), signal.SIGHUP)
    await eventually(lambda: running.state.table.routes[0].path == b"/b")


async def test_unchanged_connections_and_limits_are_kept(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    stays, goes = await start_backend(), await start_backend()
    limit = "rate_limit: {rate: 1/h, burst: 3}"
    running = await start_gateway(routes(one("/a", stays, limit), one("/b", stays, limit), one("/c", goes)))
    for path in ("/a", "/b", "/c"):
        assert (await running.request("GET", path)).status == 200
    other = "rate_limit: {rate: 1/h, burst: 2}"
    running.write(routes(one("/a", stays, limit), one("/b", stays, other)))
    await running.reload.now()
    await asyncio.wait_for(goes.lost.wait(), 15)
    assert stays.connections == 1
    remaining = [(await running.request("GET", path)).value("ratelimit") or "" for path in ("/a", "/b")]
    assert [text.partition("r=")[2].partition(";")[0] for text in remaining] == ["1", "1"]
    assert stays.connections == 1, "the pool was not kept"


async def test_open_requests_keep_the_routes_they_began_with(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    go_on = asyncio.Event()

    async def streams(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await go_on.wait()
        await conversation.send("data: 2\n\n")

    old, new = await start_backend(streams), await start_backend()
    running = await start_gateway(routes(one("/a", old)))
    upload, stream = await running.connect(), await running.connect()
    await stream.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await stream.head()).status == 200
    # Waits for its body, so it has no connection to the backend before the routes change.
    await upload.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
    await eventually(lambda: len(running.state.pace.arriving) == 1)
    assert old.connections == 1
    running.write(routes(one("/other", new)))
    await running.reload.now()
    await upload.send("body")
    assert (await upload.head()).status == 200
    (retired,) = running.state._retired
    assert len(retired.open) == 2
    go_on.set()
    assert await stream.reader.readuntil(b"data: 2\n\n\r\n0\r\n\r\n")
    await eventually(lambda: not running.state._retired)


async def test_metrics_of_removed_routes_are_dropped(start_gateway: Start, backend: Backend) -> None:
    running = await start_gateway(routes(one("/here-today", backend)))
    await running.request("GET", "/here-today")
    labels = {"route": "here-today", "method": "GET", "status": "200"}
    await eventually(lambda: REGISTRY.get_sample_value("http_requests_total", labels) == 1)
    running.write(routes(one("/tomorrow", backend)))
    await running.reload.now()
    assert REGISTRY.get_sample_value("http_requests_total", labels) is None


@asynccontextmanager
async def websocket_server() -> AsyncIterator[str]:
    async def echoes(socket: ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)

    async with serve(echoes, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


async def test_many_reloads_under_load_disturb_no_request(start_gateway: Start, backend: Backend) -> None:
    """No failed request, no closed WebSocket; RELOADS=1000 runs more reloads."""
    asked = 0
    over = asyncio.Event()

    async def client(running: RunningGateway) -> None:
        nonlocal asked
        wire = await running.connect()
        while not over.is_set():
            answer = await wire.request("POST", f"/a/{asked}", body=b"x" * 50)
            assert answer.status == 200, answer
            asked += 1

    async def talker(running: RunningGateway) -> None:
        async with connect(f"ws://127.0.0.1:{running.port}/ws") as socket:
            while not over.is_set():
                await socket.send("still there?")
                assert await socket.recv() == "still there?"

    async with websocket_server() as url:
        always = (one("/a", backend), f"path: /ws, backend: '{url}', auth: none")
        running = await start_gateway(routes(*always))
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(client(running))
                group.create_task(talker(running))
            for number in range(RELOADS):
                running.write(routes(*always, one(f"/only-{number}", backend)))
                assert (await running.reload.now()).changed
            over.set()
    assert running.reload.count >= RELOADS
    assert asked >= CLIENTS
    assert backend.connections <= CLIENTS, "reloads must not open connections"
