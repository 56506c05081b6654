"""Clients that try to use more resources than they are allowed."""

import asyncio
import gc
import tracemalloc

import pytest

from gateway.http.headers import Request
from gateway.routing.request_target import match_of
from gateway.routing.table import Policy, Route, RouteTable
from gateway.routing.upstreams import Origin, Upstream
from gateway.runtime.gateway import Gateway
from tests.gateway.backends import Backend, Conversation
from tests.gateway.conftest import Start, StartBackend
from tests.gateway.support import RunningGateway, eventually

FIELD = "x: " + "v" * 2000 + "\r\n"
BODY_THEN_TRAILERS = "POST %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "GET /health HTTP/1.1\r\nHost: a\r\n\r\n\r\n",
        "POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
    ],
    ids=["nothing", "an empty line after a request", "half a body without a route"],
)
async def test_connection_without_a_complete_request_is_closed(
    start_gateway: Start, backend: Backend, sent: str
) -> None:
    gateway = await start_gateway(
        f'routes: [{{path: /open, backend: "{backend.url}", auth: none}}]', head_seconds=0.01
    )
    wire = await gateway.connect()
    await wire.send(sent)
    if "\r\n\r\n" in sent:
        await wire.answer()
        await wire.send("\r\n" if sent.startswith("GET") else "d")
    async with asyncio.timeout(10):
        assert await wire.is_closed()
    await eventually(lambda: not gateway.state.open)


async def test_timeout_for_a_head_ends_with_the_head(gateway: RunningGateway) -> None:
    wire = await gateway.connect()
    await wire.send("GET /open HTTP/1.1\r\n")
    await eventually(lambda: len(gateway.state.open) == 1)
    await wire.send("Host: a\r\n\r\n")
    assert (await wire.answer()).status == 200
    assert not gateway.state.open
    assert (await wire.request("GET", "/open")).status == 200


async def test_trailers_are_limited(gateway: RunningGateway, backend: Backend) -> None:
    wire = await gateway.connect()
    await wire.send(BODY_THEN_TRAILERS % "/open", FIELD * 200)
    answer = await wire.answer()
    assert (answer.status, answer.code) == (431, "head_too_large")
    assert await wire.is_closed()


async def test_trailers_of_a_request_without_a_route_are_limited(gateway: RunningGateway) -> None:
    wire = await gateway.connect()
    await wire.send(BODY_THEN_TRAILERS % "/nowhere")
    assert (await wire.answer()).status == 404
    await wire.send(FIELD * 200)
    with pytest.raises(ConnectionError):
        await wire.is_closed()  # aborted, not closed in order


async def test_trailers_of_normal_size_are_dropped(gateway: RunningGateway, backend: Backend) -> None:
    wire = await gateway.connect()
    await wire.send(BODY_THEN_TRAILERS % "/open", "X-Checksum: 1\r\n\r\n")
    assert (await wire.answer()).status == 200
    assert backend.received[0].body == b"a"
    assert (await wire.request("GET", "/open")).status == 200


@pytest.mark.parametrize("path", ["/open", "/nowhere"])
async def test_overlong_target_is_refused(gateway: RunningGateway, backend: Backend, path: str) -> None:
    answer = await gateway.request("GET", f"{path}?{'a' * 40_000}")
    assert (answer.status, answer.code) == (431, "head_too_large")
    assert not backend.received


async def test_rest_of_a_body_is_awaited_briefly_after_the_response(
    start_gateway: Start, start_backend: StartBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.answer(b"", "413 Content Too Large")

    monkeypatch.setattr("gateway.forwarding.exchange.DISCARD_SECONDS", 0.0)
    backend = await start_backend(refuse)
    gateway = await start_gateway(f'routes: [{{path: /open, backend: "{backend.url}", auth: none}}]')
    wire = await gateway.connect()
    await wire.send("POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    assert (await wire.answer()).status == 413
    async with asyncio.timeout(10):
        assert await wire.is_closed()
    await eventually(lambda: not gateway.state.open)


async def test_client_that_closes_its_sending_side_is_considered_gone(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    async def hangs(conversation: Conversation) -> None:
        await conversation.request()
        arrived.set()
        await conversation.reader.read()

    arrived = asyncio.Event()
    backend = await start_backend(hangs)
    gateway = await start_gateway(f'routes: [{{path: /open, backend: "{backend.url}", auth: none}}]')
    wire = await gateway.connect()
    async with asyncio.timeout(10):
        await wire.send("GET /open HTTP/1.1\r\nHost: a\r\n\r\n")
        await arrived.wait()
        wire.writer.write_eof()
        await backend.lost.wait()
        assert await wire.is_closed()


async def test_host_in_the_target_is_forwarded_instead_of_the_header(
    gateway: RunningGateway, backend: Backend
) -> None:
    """A caller who may use one host must not appear as a caller of another one."""
    wire = await gateway.connect()
    await wire.send("GET http://user@public.example/open HTTP/1.1\r\nHost: admin.example\r\n\r\n")
    assert (await wire.answer()).status == 200
    assert backend.received[0].value("x-forwarded-host") == "public.example"


def test_overlong_host_costs_no_memory() -> None:
    route = Route(b"/", "a", Upstream.to(Origin("localhost", 80)), Policy(), hosts=("a.example",))
    request = Request(b"GET", b"/x", [(b"host", b"." * 60_000)])
    tracemalloc.start()
    try:
        assert match_of(RouteTable([route]), request).route is None
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("field", ["X-%s: 1", "Host: %s", "Origin: http://localhost:%s"])
async def test_long_headers_are_not_cached(gateway: RunningGateway, field: str) -> None:
    """Clients must not be able to fill the caches."""
    before = 0
    host = "" if field.startswith("Host") else "Host: a\r\n"
    tracemalloc.start()
    try:
        for number in range(120):
            wire = await gateway.connect()
            await wire.send(f"GET /nothing HTTP/1.1\r\n{host}{field % (str(number) + 'a' * 50_000)}\r\n\r\n")
            assert (await wire.answer()).status in (400, 404)
            await wire.close()
            if number == 19:
                before = _held_bytes()
        await eventually(lambda: _held_bytes() - before < 1_000_000)  # a hundred headers would be 5 MB
    finally:
        tracemalloc.stop()


def _held_bytes() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


class Broken:
    """A watched object whose expiry fails."""

    deadline = 0.0

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def expire(self) -> None:
        self._gateway.open.discard(self)
        raise RuntimeError

    def recheck_access(self) -> None:
        """Do nothing: it has no caller."""

    def close(self) -> None:
        self._gateway.open.discard(self)


async def test_error_at_one_deadline_does_not_affect_others(start_gateway: Start, backend: Backend) -> None:
    gateway = await start_gateway(
        f'routes: [{{path: /open, backend: "{backend.url}", auth: none}}]', head_seconds=0.5
    )
    broken = Broken(gateway.state)
    gateway.state.open.add(broken)
    await eventually(lambda: broken not in gateway.state.open)
    wire = await gateway.connect()
    async with asyncio.timeout(10):
        assert await wire.is_closed()
