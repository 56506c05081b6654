"""Slow clients, as simulated by slowhttptest: closed at the limits, while others are served."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from prometheus_client import REGISTRY

from gateway.forwarding.exchange import Exchange
from tests.gateway.backends import Backend, Conversation
from tests.gateway.conftest import Start, StartBackend
from tests.gateway.support import Answer, RunningGateway, Wire, eventually

SLOW = 200
PAUSE = 0.05
LIMIT_SECONDS_MAX = 8.0  # on a busy machine; the tests set half a second, the defaults are 10 and more
SERVED_SECONDS_MAX = 5.0  # at worst, with 200 slow clients in the same process
CHUNKED = "Transfer-Encoding: chunked"


@asynccontextmanager
async def others_are_served(gateway: RunningGateway) -> AsyncIterator[None]:
    """Check that a normal client is served all the time, on kept and on new connections."""
    slowest, served, enough = 0.0, 0, False

    async def go_on() -> None:
        nonlocal slowest, served
        wire = await gateway.connect()
        while not enough:
            started = time.monotonic()
            assert (await wire.request("POST", "/x", body=b"usual")).status == 200
            assert (await gateway.request("GET", "/x")).status == 200
            slowest, served = max(slowest, time.monotonic() - started), served + 1
            await asyncio.sleep(0.01)  # the client's own pace
        await wire.close()

    usual = asyncio.create_task(go_on())
    try:
        yield
        await eventually(lambda: served > 5 or usual.done())
    finally:
        enough = True
        await usual
    assert slowest < SERVED_SECONDS_MAX


async def trickle(wire: Wire, begin: str, drop: bytes) -> tuple[Answer, float]:
    """Send a little at a time; return the gateway's response and the seconds until it arrived."""
    started = time.monotonic()
    await wire.send(begin)
    answer = asyncio.create_task(wire.answer())
    with suppress(ConnectionError):
        while not answer.done():
            await asyncio.wait([answer], timeout=PAUSE)
            await wire.send(drop)
    return await answer, time.monotonic() - started


async def many(gateway: RunningGateway, begin: str, drop: bytes) -> list[tuple[Answer, float]]:
    async def one() -> tuple[Answer, float]:
        started = time.monotonic()
        wire = await gateway.connect()
        answer, _ = await trickle(wire, begin, drop)
        await wire.close()
        return answer, time.monotonic() - started

    return await asyncio.gather(*(one() for _ in range(SLOW)))


class TestSlowHeads:
    """The Slowloris attack."""

    async def test_slow_heads_are_closed_while_others_are_served(
        self, start_gateway: Start, backend: Backend
    ) -> None:
        gateway = await start_gateway(_routes(backend), head_seconds=0.5)
        async with others_are_served(gateway):
            answers = await many(gateway, "GET /x HTTP/1.1\r\nHost: a\r\n", b"X-More: 1\r\n")
        assert {(answer.status, answer.code) for answer, _ in answers} == {(408, "request_timeout")}
        assert {answer.json()["phase"] for answer, _ in answers} == {"request"}
        assert all(0.5 <= seconds < LIMIT_SECONDS_MAX for _, seconds in answers)
        await eventually(lambda: not gateway.state.crowd.seats)

    async def test_silent_connection_is_closed_without_a_response(
        self, start_gateway: Start, backend: Backend
    ) -> None:
        gateway = await start_gateway(_routes(backend), head_seconds=0.1)
        assert await (await gateway.connect()).is_closed()


class TestSlowBodies:
    """The R-U-Dead-Yet attack."""

    @pytest.mark.parametrize("framing", ["length", "chunked"])
    async def test_slow_bodies_are_closed_while_others_are_served(
        self, start_gateway: Start, start_backend: StartBackend, framing: str
    ) -> None:
        async def serves(conversation: Conversation) -> None:
            with suppress(ValueError):  # a body that was cut off
                while await conversation.request():
                    await conversation.answer()

        backend = await start_backend(serves)
        gateway = await start_gateway(_routes(backend), body_grace_seconds=0.5)
        field = "Content-Length: 4096" if framing == "length" else CHUNKED
        drop = b"a" if framing == "length" else b"1\r\na\r\n"
        async with others_are_served(gateway):
            answers = await many(gateway, f"POST /x HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n", drop)
        assert {(answer.status, answer.code) for answer, _ in answers} == {(408, "body_too_slow")}
        assert all(0.5 <= seconds < LIMIT_SECONDS_MAX for _, seconds in answers)
        if framing == "length":
            assert backend.connections <= 4, "a slow body must not hold a connection to the backend"
        await eventually(lambda: len(_open_to_backend(gateway)) <= 2)
        await eventually(lambda: not gateway.state.pace.arriving)

    async def test_small_chunked_bodies_are_received_before_connecting(
        self, start_gateway: Start, backend: Backend
    ) -> None:
        gateway = await start_gateway(_routes(backend).replace("1GiB", "64KiB"))
        wire = await gateway.connect()
        await wire.send(f"POST /x HTTP/1.1\r\nHost: a\r\n{CHUNKED}\r\n\r\n5\r\nhello\r\n")
        await eventually(lambda: len(gateway.state.pace.arriving) == 1)
        assert backend.connections == 0
        await wire.send("1\r\n!\r\n0\r\n\r\n")
        assert (await wire.answer()).json()["body"] == "hello!"
        await wire.send(f"POST /x HTTP/1.1\r\nHost: a\r\n{CHUNKED}\r\n\r\nffff\r\n", b"a" * 65535)
        await wire.send("\r\n2\r\nbb\r\n")
        answer = await wire.answer()
        assert (answer.status, answer.code) == (413, "body_too_large")
        (fault,) = answer.json()["errors"]
        assert (fault["field"], fault["code"], fault["message"]) == (
            "body",
            "too_large",
            "at most 65536 bytes",
        )
        assert backend.connections == 1

    async def test_pause_in_a_body_has_its_own_limit(self, start_gateway: Start, backend: Backend) -> None:
        gateway = await start_gateway(_routes(backend), body_idle_seconds=0.3)
        wire = await gateway.connect()
        await wire.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n", b"a" * 99_999)
        answer = await wire.answer()
        assert (answer.status, answer.code) == (408, "request_timeout")
        assert await wire.is_closed()

    async def test_fast_beginning_does_not_excuse_a_slow_rest(
        self, start_gateway: Start, backend: Backend
    ) -> None:
        gateway = await start_gateway(_routes(backend), body_grace_seconds=0.3, body_idle_seconds=0.6)
        wire = await gateway.connect()
        begin = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n" + "a" * 1_000_000
        answer, seconds = await trickle(wire, begin, b"a")
        assert (answer.status, answer.code) == (408, "body_too_slow")
        assert seconds < 5

    async def test_steady_body_above_the_minimum_rate_is_accepted(
        self, start_gateway: Start, backend: Backend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # The client stalls with the machine, which must not look like a pause of its own.
        monkeypatch.setattr("gateway.clients.slow_clients.STEP_SECONDS_MAX", 0.1)
        gateway = await start_gateway(
            _routes(backend), body_grace_seconds=0.3, body_idle_seconds=0.3, bytes_per_second_min=100
        )
        wire = await gateway.connect()
        await wire.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(20):
            await asyncio.sleep(PAUSE)  # the rate of this client
            await wire.send(b"a" * 50)
        assert (await wire.answer()).status == 200
        assert len(backend.received[0].body) == 1000

    async def test_body_that_waits_for_the_service_is_not_slow(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        go_on = asyncio.Event()

        async def waits(conversation: Conversation) -> None:
            received = await conversation.head()
            assert received is not None
            await go_on.wait()
            count = sum([len(piece) async for piece in conversation.pieces(received)])
            await conversation.answer(b"%d" % count)

        gateway = await start_gateway(
            _routes(await start_backend(waits)), body_grace_seconds=0.2, body_idle_seconds=0.2
        )
        wire = await gateway.connect()
        upload = asyncio.create_task(wire.request("POST", "/x", body=b"a" * 20_000_000))
        await eventually(lambda: any(not each.may_send_body for each in gateway.state.pace.arriving))
        await asyncio.sleep(1.0)  # the test is about elapsed time
        go_on.set()
        assert (await upload).body == b"20000000"

    async def test_body_that_waits_for_100_continue_is_not_slow(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        go_on = asyncio.Event()

        async def considers(conversation: Conversation) -> None:
            await conversation.head()
            await go_on.wait()
            await conversation.send("HTTP/1.1 100 Continue\r\n\r\n")
            await conversation.reader.readexactly(5)
            await conversation.answer(b"thanks")

        gateway = await start_gateway(
            _routes(await start_backend(considers)), body_grace_seconds=0.2, body_idle_seconds=0.2
        )
        wire = await gateway.connect()
        await wire.send("POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        await eventually(lambda: len(gateway.state.pace.arriving) == 1)
        await asyncio.sleep(0.8)  # the test is about elapsed time
        go_on.set()
        assert (await wire.head()).status == 100
        await wire.send(b"hello")
        assert (await wire.answer()).body == b"thanks"

    async def test_silence_after_100_continue_is_the_clients_fault(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        async def asks(conversation: Conversation) -> None:
            await conversation.head()
            await conversation.send("HTTP/1.1 100 Continue\r\n\r\n")
            await conversation.reader.read()

        gateway = await start_gateway(_routes(await start_backend(asks), "timeout: {idle: 200ms}"))
        wire = await gateway.connect()
        await wire.send("POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert (await wire.head()).status == 100
        answer = await wire.answer()
        assert (answer.status, answer.code, answer.json()["source"]) == (408, "request_timeout", "client")

    async def test_request_with_an_incomplete_body_is_refused_at_shutdown(
        self, start_gateway: Start, backend: Backend
    ) -> None:
        gateway = await start_gateway(_routes(backend), drain_seconds=1.0)
        wire = await gateway.connect()
        await wire.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        await eventually(lambda: len(gateway.state.pace.arriving) == 1)
        stop = asyncio.create_task(gateway.stop())
        answer = await wire.answer()
        assert (answer.status, answer.code) == (503, "stopping")
        await stop

    async def test_many_small_pieces_of_a_body_are_joined(
        self, start_gateway: Start, backend: Backend
    ) -> None:
        gateway = await start_gateway(_routes(backend))
        wire = await gateway.connect()
        await wire.send("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 600\r\n\r\n")
        await eventually(lambda: len(gateway.state.pace.arriving) == 1)
        (exchange,) = gateway.state.pace.arriving
        assert isinstance(exchange, Exchange)
        for _ in range(300):
            before = exchange.received_bytes
            await wire.send(b"ab")
            await eventually(lambda before=before: exchange.received_bytes > before)  # type: ignore[misc]
            assert max(len(exchange._held), len(exchange._sent)) <= 64
        assert (await wire.answer()).json()["body"] == "ab" * 300


class TestSlowReaders:
    """The slow-read attack: a small window, and a few bytes at a time."""

    @pytest.mark.parametrize("drop", [0, 64], ids=["nothing", "a few bytes"])
    async def test_slow_readers_are_cut_while_others_are_served(
        self, start_gateway: Start, start_backend: StartBackend, drop: int
    ) -> None:
        large = b"x" * (8 << 20)

        async def answers(conversation: Conversation) -> None:
            while received := await conversation.request():
                with suppress(ConnectionError):
                    await conversation.answer(large if received.target == "/x/large" else b"small")

        backend = await start_backend(answers)
        gateway = await start_gateway(_routes(backend), write_idle_seconds=0.5, bytes_per_second_min=5000)
        async with others_are_served(gateway):
            readers = [await _slow_reader(gateway) for _ in range(SLOW)]
            await asyncio.gather(*(_sip(reader, drop) for reader in readers))
        await eventually(lambda: len(_open_to_backend(gateway)) <= 2)
        await eventually(lambda: not gateway.state.crowd.seats)

    async def test_client_that_pauses_before_reading_gets_everything(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        async def answers(conversation: Conversation) -> None:
            await conversation.request()
            await conversation.answer(b"x" * (8 << 20))

        gateway = await start_gateway(_routes(await start_backend(answers)), write_idle_seconds=5.0)
        reader = await _slow_reader(gateway)
        await eventually(lambda: any(seat.waits_since for seat in gateway.state.crowd.seats.values()))
        loop = asyncio.get_running_loop()
        got = 0
        while got < 8 << 20:
            got += len(await loop.sock_recv(reader, 1 << 18))
        reader.close()

    async def test_responses_that_are_not_read_do_not_pile_up(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        async def answers(conversation: Conversation) -> None:
            while await conversation.request():
                await conversation.answer(b"x" * 50_000)

        backend = await start_backend(answers)
        gateway = await start_gateway(_routes(backend))
        client = await _slow_reader(gateway, b"")
        loop = asyncio.get_running_loop()
        asked = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n" * 10
        with suppress(TimeoutError):
            for _ in range(1000):  # 500 MB of responses
                async with asyncio.timeout(1):
                    await loop.sock_sendall(client, asked)
        (transport,) = gateway.state.crowd.seats
        assert transport.get_write_buffer_size() < 1 << 20
        assert len(backend.received) < 300
        client.close()


class TestConnectionLimits:
    async def test_connections_beyond_the_total_limit_are_refused(
        self, start_gateway: Start, backend: Backend
    ) -> None:
        gateway = await start_gateway(_routes(backend), connections_max=3)
        kept = [await gateway.connect() for _ in range(3)]
        await eventually(lambda: len(gateway.state.crowd.seats) == 3)
        answer = await (await gateway.connect()).answer()
        assert (answer.status, answer.code) == (503, "too_many_connections")
        assert (answer.json()["source"], answer.value("retry-after")) == ("gateway", "1")
        assert REGISTRY.get_sample_value("gateway_connections") == 4, "the refused connection is still open"
        assert (await kept[0].request("GET", "/x")).status == 200
        await kept[1].close()
        await eventually(lambda: len(gateway.state.crowd.seats) - gateway.state.crowd.refused == 2)
        await eventually(lambda: not gateway.state.crowd.refused)
        assert REGISTRY.get_sample_value("gateway_connections") == 2
        assert (await gateway.request("GET", "/x")).status == 200

    async def test_connections_beyond_the_limit_per_address_are_refused(
        self, start_gateway: Start, backend: Backend
    ) -> None:
        gateway = await start_gateway(_routes(backend), connections_per_address_max=2)
        kept = [await gateway.connect() for _ in range(2)]
        await eventually(lambda: len(gateway.state.crowd.seats) == 2)
        refused = await (await gateway.connect()).answer()
        assert (refused.status, refused.json()["source"]) == (503, "client")
        wire = Wire(*await asyncio.open_connection("127.0.0.1", gateway.port, local_addr=("127.0.0.2", 0)))
        assert (await wire.request("GET", "/x")).status == 200
        await wire.close()
        assert (await kept[0].request("GET", "/x")).status == 200

    async def test_limit_per_address_does_not_apply_to_trusted_proxies(
        self, start_gateway: Start, backend: Backend
    ) -> None:
        gateway = await start_gateway(
            _routes(backend), connections_per_address_max=2, trusted_proxies="127.0.0.0/8"
        )
        wires = [await gateway.connect() for _ in range(5)]
        for wire in wires:
            assert (await wire.request("GET", "/x")).status == 200

    async def test_connection_storm_gets_no_responses(self, start_gateway: Start, backend: Backend) -> None:
        gateway = await start_gateway(_routes(backend), connections_max=1)
        kept = await gateway.connect()
        await eventually(lambda: len(gateway.state.crowd.seats) == 1)
        wires = [await gateway.connect() for _ in range(150)]
        said = await asyncio.gather(*(_all_of(wire) for wire in wires))
        assert 100 <= sum(b"too_many_connections" in each for each in said) < 150
        assert (await kept.request("GET", "/x")).status == 200

    async def test_idle_connection_is_kept_for_keep_alive_seconds(
        self, start_gateway: Start, backend: Backend
    ) -> None:
        gateway = await start_gateway(_routes(backend), keep_alive_seconds=0.2)
        wire = await gateway.connect()
        assert (await wire.request("GET", "/x")).status == 200
        assert (await wire.request("GET", "/x")).status == 200
        started = time.monotonic()
        assert await wire.is_closed()
        assert time.monotonic() - started > 0.1


async def _slow_reader(
    gateway: RunningGateway, asked: bytes = b"GET /x/large HTTP/1.1\r\nHost: a\r\n\r\n"
) -> socket.socket:
    """Return a connection with the smallest possible window."""
    client = socket.socket()
    client.setblocking(False)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", gateway.port))
    await loop.sock_sendall(client, asked)
    return client


async def _sip(client: socket.socket, size: int) -> None:
    """Read this many bytes at a time until the gateway cuts the connection."""
    loop = asyncio.get_running_loop()
    with suppress(ConnectionError):
        while not size or await loop.sock_recv(client, size):
            await asyncio.sleep(PAUSE)
            if not size and client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                break
    client.close()


async def _all_of(wire: Wire) -> bytes:
    with suppress(ConnectionError):
        return await wire.reader.read()
    return b""


def _open_to_backend(gateway: RunningGateway) -> set[object]:
    return {connection for backend in gateway.state._backends for connection in backend.open}


def _routes(backend: Backend, more: str = "") -> str:
    return f"""
routes:
  - path: /x
    backend: {backend.url}
    auth: none
    rate_limit: {{rate: 100000/s}}
    body_max: 1GiB
    {more}
"""
