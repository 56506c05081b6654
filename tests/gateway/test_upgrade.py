"""WebSocket and other protocols after a 101."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest
from websockets import Subprotocol
from websockets.asyncio.client import connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from shared.testing import bearer, token
from tests.gateway.backends import Conversation
from tests.gateway.conftest import Start, StartBackend
from tests.gateway.support import RunningGateway, eventually

SECONDS_MAX = 10


@pytest.fixture
async def echo_server() -> object:
    async def echo(socket: ServerConnection) -> None:
        async for message in socket:
            if message == "close":
                await socket.close(4001, "as you wish")
            else:
                await socket.send(message)

    def choose(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        return next(iter(offered), None)

    async with serve(echo, "127.0.0.1", 0, max_size=None, select_subprotocol=choose) as server:
        yield server


@pytest.fixture
async def gateway(start_gateway: Start, echo_server: Server) -> RunningGateway:
    port = next(iter(echo_server.sockets)).getsockname()[1]
    return await start_gateway(f"""
routes:
  - {{path: /socket, backend: "http://127.0.0.1:{port}", auth: none}}
  - {{path: /private, backend: "http://127.0.0.1:{port}"}}
""")


async def test_messages_pass_in_both_directions(gateway: RunningGateway) -> None:
    async with connect(
        f"ws://127.0.0.1:{gateway.port}/socket", subprotocols=[Subprotocol("chat")], max_size=None
    ) as socket:
        assert socket.subprotocol == "chat"
        for message in ("hello", b"\x00\xff", "x" * 3_000_000):
            await socket.send(message)
            assert await socket.recv() == message
        await asyncio.wait_for(await socket.ping(), SECONDS_MAX)


async def test_close_passes_with_its_code(gateway: RunningGateway) -> None:
    async with connect(f"ws://127.0.0.1:{gateway.port}/socket") as socket:
        await socket.send("close")
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "as you wish")
    await _nothing_open(gateway)


async def test_client_that_vanishes_is_noticed(gateway: RunningGateway, echo_server: Server) -> None:
    socket = await connect(f"ws://127.0.0.1:{gateway.port}/socket")
    assert len(echo_server.connections) == 1
    socket.transport.abort()
    await eventually(lambda: not echo_server.connections)
    await _nothing_open(gateway)
    await socket.wait_closed()


async def test_handshake_requires_a_token(gateway: RunningGateway) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"ws://127.0.0.1:{gateway.port}/private")
    assert refused.value.response.status_code == 401
    async with connect(
        f"ws://127.0.0.1:{gateway.port}/private", additional_headers=bearer(token())
    ) as socket:
        await socket.send("hello")
        assert await socket.recv() == "hello"


async def test_side_that_does_not_read_pauses_the_other(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    written = 0

    async def floods(conversation: Conversation) -> None:
        nonlocal written
        await conversation.request()
        await conversation.send("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: flood\r\n\r\n")
        for _ in range(1600):
            await conversation.send(b"x" * 65536)
            written += 65536

    gateway = await start_gateway(_route((await start_backend(floods)).url))
    wire = await gateway.connect()
    await wire.send("GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: flood\r\n\r\n")
    assert (await wire.head()).status == 101
    before = -1
    while before != written:
        before = written
        await asyncio.sleep(0.3)
    assert written < 32 << 20
    left = 1600 * 65536
    while left:
        left -= len(await wire.reader.read(1 << 18))


async def test_bytes_sent_with_the_handshake_arrive(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    async def reads(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.send("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\nfirst")
        await conversation.send(await conversation.reader.readexactly(5))

    gateway = await start_gateway(_route((await start_backend(reads)).url))
    raw = await gateway.raw(
        "GET /socket HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\nearly"
    )
    head, _, rest = raw.partition(b"\r\n\r\n")
    assert rest == b"firstearly"
    assert b"upgrade: raw" in head.lower()
    assert b"x-request-id: " in head


async def test_switch_gets_the_same_headers_as_other_responses(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    async def switches(conversation: Conversation) -> None:
        await conversation.request()
        told = ("Server: old", "Transfer-Encoding: chunked", "RateLimit: forged", "Sec-WebSocket-Accept: a")
        lines = ("HTTP/1.1 101 Switching", "Connection: upgrade", "Upgrade: raw", *told, "", "")
        await conversation.send("\r\n".join(lines))
        await conversation.reader.read()

    backend = await start_backend(switches)
    more = "auth: none, headers: {response: {remove: [Server]}}"
    route = f'{{path: /socket, backend: "{backend.url}", {more}}}'
    gateway = await start_gateway(f"routes: [{route}]")
    wire = await gateway.connect()
    await wire.send("GET /socket HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n")
    answer = await wire.head()
    assert (answer.status, answer.value("upgrade"), answer.value("sec-websocket-accept")) == (101, "raw", "a")
    assert (answer.value("server"), answer.value("transfer-encoding")) == (None, None)
    assert [value.partition(";t=")[0] for value in answer.values("ratelimit")] == ['"socket";r=199']
    assert answer.values("connection") == ["upgrade"]


async def test_declined_upgrade_is_an_ordinary_response(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    async def declines(conversation: Conversation) -> None:
        while await conversation.request():
            await conversation.answer(b"no")

    gateway = await start_gateway(_route((await start_backend(declines)).url))
    wire = await gateway.connect()
    await wire.send(
        "GET /socket HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n",
        "GET /socket/next HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    assert [(await wire.answer()).body for _ in range(2)] == [b"no", b"no"]
    assert (await wire.request("GET", "/socket")).body == b"no"


async def test_unrequested_switch_is_refused(start_gateway: Start, start_backend: StartBackend) -> None:
    async def switches(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n")
        await conversation.reader.read()

    gateway = await start_gateway(_route((await start_backend(switches)).url))
    answer = await gateway.request("GET", "/socket")
    assert (answer.status, answer.code) == (502, "upstream_invalid")


async def _nothing_open(gateway: RunningGateway) -> None:
    await eventually(lambda: not gateway.state.open and not gateway.server.server_state.connections)


def _route(url: str) -> str:
    return f"routes: [{{path: /socket, backend: '{url}', auth: none}}]"


async def test_client_that_reads_nothing_is_cut(start_gateway: Start, start_backend: StartBackend) -> None:
    async def floods(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: flood\r\n\r\n")
        with suppress(ConnectionError):
            while True:
                await conversation.send(b"x" * 65536)

    backend = await start_backend(floods)
    gateway = await start_gateway(_route(backend.url), write_idle_seconds=0.5)
    wire = await gateway.connect()
    await wire.send("GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: flood\r\n\r\n")
    assert (await wire.head()).status == 101
    async with asyncio.timeout(SECONDS_MAX):
        await backend.lost.wait()
    await _nothing_open(gateway)
    assert not gateway.state.crowd.seats
