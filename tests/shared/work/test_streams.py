"""Server-sent events, on a real port and through a real gateway."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.settings import Settings as GatewaySettings
from shared.caller import Caller
from shared.http import streams
from shared.http.streams import ServerSentEvent
from shared.identity.revocations import Revocations
from shared.process.server import Server
from shared.testing import bearer, token
from tests.gateway.support import RunningGateway
from tests.shared.work.app import Settings, Ticks, create_app
from tests.shared.work.served import served

SECONDS = 20


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
async def service(
    make_settings: Callable[..., Any], ticks: Ticks
) -> AsyncIterator[tuple[Server, httpx.AsyncClient]]:
    async with served(create_app(make_settings(Settings), ticks)) as both:
        yield both


@pytest.fixture
def client(service: tuple[Server, httpx.AsyncClient]) -> httpx.AsyncClient:
    return service[1]


class Reader:
    """The lines of a stream, one at a time."""

    def __init__(self, response: httpx.Response) -> None:
        self.response, self._lines = response, response.aiter_lines()

    async def line(self, begin: str) -> str:
        """Return the next line with this prefix."""
        async with asyncio.timeout(SECONDS):
            async for line in self._lines:
                if line.startswith(begin):
                    return line
        raise AssertionError(f"the stream ended before {begin!r}")

    async def rest(self) -> list[str]:
        async with asyncio.timeout(SECONDS):
            return [line async for line in self._lines if line]


async def test_events_have_names_ids_and_lines(client: httpx.AsyncClient, ticks: Ticks) -> None:
    ticks.queue.put_nowait(ServerSentEvent("one\ntwo", id="7", name="tick"))
    ticks.queue.put_nowait(None)
    answer = await client.get("/ticks", headers=bearer(token()))

    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.text == "retry: 2000\n\nid: 7\nevent: tick\ndata: one\ndata: two\n\n"


def test_event_cannot_forge_another() -> None:
    assert (
        bytes(ServerSentEvent("a\n\nid: 9\r\nevent: b"))
        == b"data: a\ndata: \ndata: id: 9\ndata: event: b\n\n"
    )
    with pytest.raises(ValueError, match="single line"):
        bytes(ServerSentEvent("a", name="b\nid: 9"))


async def test_stream_needs_a_token(client: httpx.AsyncClient) -> None:
    assert (await client.get("/ticks")).status_code == 401


async def test_each_event_passes_the_gateway_without_delay(
    client: httpx.AsyncClient, ticks: Ticks, make_settings: Callable[..., Any], tmp_path: Path
) -> None:
    """Each event is created only after the client got the previous one, with and without the alias."""
    routes = f"""
routes:
  - {{path: /ticks, backend: "{client.base_url}"}}
aliases:
  - {{path: /api/v1, to: /, envelope: v1}}
"""
    settings = make_settings(GatewaySettings, admin_port=0)
    async with RunningGateway(routes, settings, tmp_path) as gateway:
        for path in ("/ticks", "/api/v1/ticks"):
            address = f"http://127.0.0.1:{gateway.port}{path}"
            async with client.stream("GET", address, headers=bearer(token())) as answer:
                reader = Reader(answer)
                for number in range(3):
                    ticks.queue.put_nowait(ServerSentEvent(str(number)))
                    assert await reader.line("data:") == f"data: {number}"
                ticks.queue.put_nowait(None)
                assert await reader.rest() == []


async def test_silent_stream_sends_a_heartbeat(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, ticks: Ticks
) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(streams, "CHECK_SECONDS", 0.02)
    async with client.stream("GET", "/ticks", headers=bearer(token())) as answer:
        reader = Reader(answer)
        await reader.line(":")
        await reader.line(":")
        ticks.queue.put_nowait(ServerSentEvent("after it"))
        assert await reader.line("data") == "data: after it"


async def test_stream_ends_completely_when_the_server_drains(
    service: tuple[Server, httpx.AsyncClient], ticks: Ticks
) -> None:
    server, client = service
    async with client.stream("GET", "/ticks", headers=bearer(token())) as answer:
        reader = Reader(answer)
        await reader.line("retry")
        ending = asyncio.create_task(server.shutdown())
        assert await reader.rest() == []  # httpx raises if the last chunk is missing
        await asyncio.wait_for(ending, SECONDS)
    assert ticks.is_closed.is_set()


async def test_source_is_closed_when_the_client_disconnects(client: httpx.AsyncClient, ticks: Ticks) -> None:
    async with client.stream("GET", "/ticks", headers=bearer(token())) as answer:
        await Reader(answer).line("retry")
    await asyncio.wait_for(ticks.is_closed.wait(), SECONDS)


async def test_account_has_a_limited_number_of_streams(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, ticks: Ticks
) -> None:
    monkeypatch.setattr(streams, "STREAMS_PER_ACCOUNT", 1)
    mine = bearer(token())
    async with client.stream("GET", "/ticks", headers=mine) as answer:
        reader = Reader(answer)  # kept, because httpx closes a response that nothing reads
        await reader.line("retry")
        refused = await client.get("/ticks", headers=mine)
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        async with client.stream("GET", "/ticks", headers=bearer(token())) as other:
            assert other.status_code == 200
        monkeypatch.setattr(streams, "STREAMS_MAX", 1)
        assert (await client.get("/ticks", headers=bearer(token()))).status_code == 503
    del reader
    await asyncio.wait_for(ticks.is_closed.wait(), SECONDS)
    monkeypatch.setattr(streams, "STREAMS_MAX", 500)
    async with asyncio.timeout(SECONDS):
        while (
            await client.head("/ticks", headers=mine)
        ).status_code != 200:  # until the server has noticed the disconnect
            pass


async def test_stream_ends_with_its_token(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, ticks: Ticks
) -> None:
    monkeypatch.setattr(streams, "CHECK_SECONDS", 0.02)
    is_revoked: list[bool] = []
    monkeypatch.setattr(Revocations, "cover", lambda *_: bool(is_revoked))
    async with client.stream("GET", "/ticks", headers=bearer(token())) as answer:
        reader = Reader(answer)
        await reader.line("retry")
        is_revoked.append(True)
        assert await reader.rest() == []
    assert ticks.is_closed.is_set()


async def test_source_waits_for_a_client_that_does_not_read(ticks: Ticks) -> None:
    """If the client reads nothing, no second event is requested, and the stream ends after a while."""
    taken, scope = asyncio.Event(), {"type": "http", "method": "GET", "path": "/ticks"}
    ticks.queue.put_nowait(ServerSentEvent("1"))
    ticks.queue.put_nowait(ServerSentEvent("2"))

    async def send(message: Any) -> None:
        if b"data" in message.get("body", b""):
            taken.set()
            await asyncio.Event().wait()

    async def receive() -> Any:
        await asyncio.Event().wait()

    caller = Caller("1", "user", None, None, None, frozenset(), float("inf"))
    stream = streams.Streams(Revocations()).answer(caller, ticks.events())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "SLOW_CLIENT_SECONDS", 0.2)
        await asyncio.wait_for(stream(scope, receive, send), SECONDS)
    assert taken.is_set()
    assert ticks.asked == 1
    assert ticks.is_closed.is_set()
