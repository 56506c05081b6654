"""Limits on concurrent requests and sockets per caller; however a request ends, it frees its slot."""

import asyncio
import random

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import InvalidStatus

from shared.testing import bearer, token
from tests.gateway.backends import Backend, Conversation
from tests.gateway.conftest import Start, StartBackend
from tests.gateway.support import RunningGateway, Wire, eventually

AT_ONCE = 3
CLIENTS = 40
ROUNDS = 6
SEED = 20


class Gate:
    """A backend that responds once it is opened, and counts the waiting requests."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.waiting = self.most = 0

    async def serve(self, conversation: Conversation) -> None:
        while (received := await conversation.request()) is not None:
            if received.target == "/x/broken":
                return
            self.waiting += 1
            self.most = max(self.most, self.waiting)
            try:
                await self.opened.wait()
            finally:
                self.waiting -= 1
            await conversation.answer(b"done")


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def gated(start_backend: StartBackend, gate: Gate) -> Backend:
    return await start_backend(gate.serve)


def routes(backend: Backend, more: str = "") -> str:
    limits = f"concurrency: {{max: {AT_ONCE}}}, rate_limit: {{rate: 100000/s}}"
    return f"routes: [{{path: /x, backend: '{backend.url}', {limits}{more}}}]"


async def asking(gateway: RunningGateway, who: dict[str, str], number: int) -> list[Wire]:
    """Return connections on which a request waits for its response."""
    wires = [await gateway.connect() for _ in range(number)]
    for wire in wires:
        await wire.send(f"GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: {who['Authorization']}\r\n\r\n")
    return wires


def taken(gateway: RunningGateway) -> dict[str, int]:
    return gateway.state.routing.slots["x"].taken


async def test_one_request_too_many_is_refused_and_other_callers_are_not(
    start_gateway: Start, gated: Backend, gate: Gate
) -> None:
    gateway = await start_gateway(routes(gated))
    one, other = bearer(token("one")), bearer(token("other"))
    wires = await asking(gateway, one, AT_ONCE)
    await eventually(lambda: gate.waiting == AT_ONCE)

    refused = await gateway.request("GET", "/x", one)
    assert (refused.status, refused.code) == (429, "too_many_at_once")
    assert (refused.json()["source"], refused.json()["phase"]) == ("client", "limit")
    assert refused.value("retry-after") == "1"
    assert len(gated.received) == AT_ONCE
    wires += await asking(gateway, other, 1)
    await eventually(lambda: gate.waiting == AT_ONCE + 1)

    gate.opened.set()
    assert [(await wire.answer()).status for wire in wires] == [200] * (AT_ONCE + 1)
    assert (await gateway.request("GET", "/x", one)).status == 200
    assert taken(gateway) == {}


async def test_clients_that_disconnect_free_their_slots(
    start_gateway: Start, gated: Backend, gate: Gate
) -> None:
    gateway = await start_gateway(routes(gated))
    one = bearer(token("one"))
    for _ in range(5):
        wires = await asking(gateway, one, AT_ONCE)
        await eventually(lambda: list(taken(gateway).values()) == [AT_ONCE])
        for wire in wires:
            await wire.close()
        await eventually(lambda: not taken(gateway))
    gate.opened.set()
    assert (await gateway.request("GET", "/x", one)).status == 200


@pytest.mark.parametrize(
    ("target", "headers", "more", "status"),
    [
        ("/x/broken", {}, "", 502),
        ("/x", {"Content-Length": "100"}, ", body_max: 10B", 413),
        ("/x", {}, ", timeout: {first_byte: 50ms, connect: 50ms}", 504),
    ],
)
async def test_refused_requests_free_their_slots(
    start_gateway: Start, gated: Backend, target: str, headers: dict[str, str], more: str, status: int
) -> None:
    gateway = await start_gateway(routes(gated, more))
    for _ in range(AT_ONCE + 1):
        answer = await gateway.request("POST", target, {**bearer(token("one")), **headers})
        assert answer.status == status
    assert taken(gateway) == {}


async def test_request_over_the_rate_limit_takes_no_slot(start_gateway: Start, backend: Backend) -> None:
    gateway = await start_gateway(
        f"routes: [{{path: /x, backend: '{backend.url}', auth: none, concurrency: {{max: 1, key: ip}},"
        " rate_limit: {rate: 1/h, key: ip}}]"
    )
    answers = [await gateway.request("GET", "/x") for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 429, 429, 429]
    assert answers[1].code == "rate_limited"
    assert taken(gateway) == {}


async def test_open_sockets_take_slots(start_gateway: Start) -> None:
    async def echo(socket: ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)

    async with serve(echo, "127.0.0.1", 0) as server:
        gateway = await start_gateway(_route_to(server))
        url = f"ws://127.0.0.1:{gateway.port}/x"
        sockets = [await connect(url) for _ in range(AT_ONCE)]
        with pytest.raises(InvalidStatus) as refused:
            await connect(url)
        assert refused.value.response.status_code == 429
        await sockets.pop().close()
        await eventually(lambda: sum(taken(gateway).values()) == AT_ONCE - 1)
        sockets.pop().transport.abort()
        await eventually(lambda: sum(taken(gateway).values()) == AT_ONCE - 2)
        sockets.append(await connect(url))
        for socket in sockets:
            await socket.close()
        await eventually(lambda: not taken(gateway))


def _route_to(server: Server) -> str:
    port = next(iter(server.sockets)).getsockname()[1]
    limits = f"auth: none, concurrency: {{max: {AT_ONCE}, key: ip}}"
    return f"routes: [{{path: /x, backend: 'http://127.0.0.1:{port}', {limits}}}]"


async def test_clients_that_abort_at_random_never_exceed_the_limit_and_free_all_slots(
    start_gateway: Start, gated: Backend, gate: Gate
) -> None:
    gateway = await start_gateway(routes(gated))
    dice, one = random.Random(SEED), bearer(token("one"))
    gate.opened.set()
    served = 0

    async def client() -> None:
        nonlocal served
        for _ in range(ROUNDS):
            (wire,) = await asking(gateway, one, 1)
            if dice.random() < 0.5:
                served += (await wire.answer()).status == 200
            elif dice.random() < 0.5:
                await wire.reader.read(1)
            await wire.close()

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    assert served
    assert gate.most <= AT_ONCE
    await eventually(lambda: not taken(gateway))
    assert (await gateway.request("GET", "/x", one)).status == 200


async def test_reload_keeps_the_slots_unless_it_changes_the_limit(
    start_gateway: Start, gated: Backend, gate: Gate
) -> None:
    gateway = await start_gateway(routes(gated))
    one = bearer(token("one"))
    wires = await asking(gateway, one, AT_ONCE)
    await eventually(lambda: gate.waiting == AT_ONCE)
    gateway.write(routes(gated, ", body_max: 1KiB"))
    assert (await gateway.reload.now()).changed
    assert (await gateway.request("GET", "/x", one)).status == 429
    gateway.write(routes(gated).replace(f"max: {AT_ONCE}", f"max: {AT_ONCE + 1}"))
    assert (await gateway.reload.now()).changed
    gate.opened.set()
    assert (await gateway.request("GET", "/x", one)).status == 200
    assert [(await wire.answer()).status for wire in wires] == [200] * AT_ONCE
    assert taken(gateway) == {}
