"""Where WebSocket frames end, however they are split into reads; and close frames between them."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from gateway.http.websocket import GOING_AWAY, Frames, close_frame
from tests.gateway.backends import Backend, Conversation
from tests.gateway.conftest import Start, StartBackend
from tests.gateway.support import RunningGateway, Wire, eventually

SECONDS_MAX = 10
HANDSHAKE = "GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCH = "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
GOODBYE = b"\x88\x02\x03\xe9"


def frame(opcode: int, size: int, *, masked: bool) -> bytes:
    if size < 126:
        length = bytes((size | 128 * masked,))
    elif size < 1 << 16:
        length = bytes((126 | 128 * masked,)) + size.to_bytes(2, "big")
    else:
        length = bytes((127 | 128 * masked,)) + size.to_bytes(8, "big")
    return bytes((0x80 | opcode,)) + length + b"\x88" * (size + 4 * masked)


FRAME = st.builds(
    frame,
    st.sampled_from([0, 1, 2, 9, 10]),
    st.sampled_from([0, 1, 2, 125, 126, 127, 300, 65535, 65536]),
    masked=st.booleans(),
)


@given(st.lists(FRAME, max_size=8), st.data())
def test_ends_of_frames_are_found_however_they_are_split(sent: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(sent)
    ends = {sum(map(len, sent[:count])) for count in range(len(sent) + 1)}
    near = sorted({min(max(0, end + off), len(whole)) for end in ends for off in (-9, -3, -1, 0, 1, 2, 5)})
    cuts = sorted(data.draw(st.sets(st.sampled_from(near))) | {len(whole)})
    frames, before = Frames(), 0
    for cut in cuts:
        frames.read(whole[before:cut])
        assert frames.is_between == (cut in ends)
        before = cut
    assert not frames.has_closed


@given(FRAME, FRAME, st.data())
def test_rest_of_a_frame_excludes_the_next_one(first: bytes, second: bytes, data: st.DataObject) -> None:
    frames = Frames()
    cut = data.draw(st.integers(1, min(len(first), 16)))
    frames.read(first[:cut])
    assert frames.rest_of_frame(first[cut:] + second) == first[cut:]
    assert frames.is_between


@pytest.mark.parametrize("masked", [True, False])
def test_close_frame_is_noticed(masked: bool) -> None:
    frames = Frames()
    frames.read(close_frame(GOING_AWAY, masked=masked))
    assert frames.has_closed
    assert frames.is_between


@pytest.fixture
async def echo_server() -> AsyncIterator[Server]:
    async def echo(socket: ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)

    async with serve(echo, "127.0.0.1", 0) as server:
        yield server


async def test_both_sides_receive_1001_when_the_gateway_stops(
    start_gateway: Start, echo_server: Server
) -> None:
    port = next(iter(echo_server.sockets)).getsockname()[1]
    gateway = await start_gateway(_routes(f"http://127.0.0.1:{port}"), drain_seconds=30.0)
    sockets = [await connect(f"ws://127.0.0.1:{gateway.port}/socket") for _ in range(20)]
    behind = list(echo_server.connections)
    await sockets[0].send("before")
    assert await sockets[0].recv() == "before"
    started = time.monotonic()
    stop = asyncio.create_task(gateway.stop())
    for socket in sockets:
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(socket.recv(), SECONDS_MAX)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == GOING_AWAY
    await asyncio.wait_for(stop, SECONDS_MAX)
    assert time.monotonic() - started < 10, "the rest of the drain is not needed"
    await eventually(lambda: all(each.close_code == GOING_AWAY for each in behind))


async def test_message_that_has_begun_is_finished_before_the_close(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    go_on, heard = asyncio.Event(), bytearray()

    async def speaks(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(SWITCH, b"\x81\x7e\x01")
        await go_on.wait()
        await conversation.send(b"\x00" + b"x" * 256 + b"\x81\x01!")
        heard.extend(await conversation.reader.read())

    gateway, wire = await _switched(start_gateway, await start_backend(speaks))
    stop = asyncio.create_task(gateway.stop())
    await eventually(lambda: any(getattr(each, "_is_leaving", False) for each in gateway.state.open))
    go_on.set()
    rest = await asyncio.wait_for(wire.reader.readexactly(4 + 256 + len(GOODBYE)), SECONDS_MAX)
    assert rest == b"\x81\x7e\x01\x00" + b"x" * 256 + GOODBYE
    late, answer = b"\x81\x81" + bytes(4) + b"?", close_frame(GOING_AWAY, masked=True)
    await wire.send(late, answer)
    await wire.close()
    await asyncio.wait_for(stop, SECONDS_MAX)
    assert bytes(heard) == late + answer, "the client's late message and close frame arrive"


async def test_close_does_not_wait_for_a_reply(start_gateway: Start, start_backend: StartBackend) -> None:
    heard = bytearray()

    async def speaks(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(SWITCH)
        heard.extend(await conversation.reader.read())

    gateway, wire = await _switched(start_gateway, await start_backend(speaks), drain_seconds=1.0)
    await gateway.stop()
    assert await wire.reader.read() == GOODBYE
    await eventually(lambda: bool(heard))
    frames = Frames()
    frames.read(bytes(heard))
    assert frames.has_closed
    assert heard[1] & 128, "frames to a backend are masked"


async def test_nothing_is_added_after_the_backends_own_close(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    async def closes(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(SWITCH, b"\x88\x02\x03\xe8")
        await conversation.reader.read()

    gateway, wire = await _switched(start_gateway, await start_backend(closes), drain_seconds=1.0)
    await gateway.stop()
    assert await wire.reader.read() == b"\x88\x02\x03\xe8"


async def _switched(start_gateway: Start, backend: Backend, **settings: float) -> tuple[RunningGateway, Wire]:
    gateway = await start_gateway(_routes(backend.url), **settings)
    wire = await gateway.connect()
    await wire.send(HANDSHAKE)
    assert (await wire.head()).status == 101
    return gateway, wire


def _routes(url: str) -> str:
    return f"routes: [{{path: /socket, backend: '{url}', auth: none}}]"
