"""Backends that die, hang or send nonsense: the right error in the right phase, without a restart."""

import asyncio
import os
import signal
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from prometheus_client import REGISTRY

from tests.gateway.backends import Backend, Conversation, Handler, echo
from tests.gateway.conftest import Start, StartBackend
from tests.gateway.process import Process, processes
from tests.gateway.support import RunningGateway, Wire, eventually
from tests.gateway.test_upstreams_retries import reset, resets
from tests.support import free_port

CLIENTS = 8
ALONE = "ejection: {failures: 3, time: 3s}\n    timeout: {first_byte: 500ms}"


@pytest.fixture
async def three() -> AsyncIterator[list[Process]]:
    async with processes(3) as started:
        yield started


async def garbage(conversation: Conversation) -> None:
    await conversation.request()
    await conversation.send("SSH-2.0-OpenSSH_9.2\r\n\r\n")
    await conversation.reader.read()


async def silence(conversation: Conversation) -> None:
    """Half open: accept the request and never respond."""
    await conversation.reader.read()


async def breaks_off(conversation: Conversation) -> None:
    await conversation.request()
    await conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    reset(conversation)


@pytest.mark.parametrize(
    ("handler", "status", "code", "phase"),
    [
        (None, 502, "upstream_unreachable", "connect"),
        (resets, 502, "upstream_reset", "first_byte"),
        (garbage, 502, "upstream_invalid", "first_byte"),
        (silence, 504, "upstream_timeout", "first_byte"),
    ],
)
async def test_failing_single_target_is_ejected_and_comes_back(
    start_gateway: Start, handler: Handler | None, status: int, code: str, phase: str
) -> None:
    port = free_port()
    gateway = await start_gateway(_routes(port, more=f"{ALONE}\n    retry: {{attempts: 0}}"))
    before = _ejections(port)

    async def ask() -> tuple[int, str, str]:
        answer = await gateway.request("GET", "/x")
        return answer.status, answer.code, answer.json()["phase"]

    async with Optional(handler, port) as ill:
        for _ in range(3):
            assert await ask() == (status, code, phase)
        assert _ejections(port) == before + 1
        refused = await gateway.request("GET", "/x")
        assert (refused.status, refused.code, refused.value("retry-after")) == (503, "upstream_open", "3")
        assert (refused.json()["source"], refused.json()["phase"]) == ("upstream", "connect")
        if ill is not None:
            assert ill.connections == 3, "it was not ejected"
    async with Backend(echo, port) as well:
        await eventually_answers(gateway)
        assert len(well.received) == 1
        answers = await asyncio.gather(*(gateway.request("GET", "/x") for _ in range(20)))
        assert {answer.status for answer in answers} == {200}


async def test_only_one_request_at_a_time_probes_an_ejected_target(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    backend = await start_backend(silence)
    more = "ejection: {failures: 1, time: 10ms, time_max: 10ms}\n    timeout: {first_byte: 1s}"
    gateway = await start_gateway(_routes(backend.port, more=more))
    assert (await gateway.request("GET", "/x")).status == 504
    (standing,) = [each.standing for each in gateway.state.routing.backends.values()]
    await eventually(lambda: standing.may_try(asyncio.get_running_loop().time()))
    answers = await asyncio.gather(*(gateway.request("GET", "/x") for _ in range(10)))
    assert Counter(answer.code for answer in answers) == {"upstream_timeout": 1, "upstream_open": 9}


async def test_next_request_probes_if_the_client_of_a_probe_disconnects(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    backend = await start_backend(silence)
    more = "ejection: {failures: 1, time: 10ms}\n    timeout: {first_byte: 1s}"
    gateway = await start_gateway(_routes(backend.port, more=more))
    assert (await gateway.request("GET", "/x")).status == 504
    (standing,) = [each.standing for each in gateway.state.routing.backends.values()]
    await eventually(lambda: standing.may_try(asyncio.get_running_loop().time()))
    wire = await gateway.connect()
    await wire.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    await eventually(lambda: standing.trial is not None)
    await wire.close()
    await eventually(lambda: standing.trial is None)
    assert standing.is_ejected


async def test_each_ejection_lasts_longer_up_to_a_maximum(start_gateway: Start) -> None:
    gateway = await start_gateway(
        _routes(
            free_port(),
            more="ejection: {failures: 1, time: 20ms, time_max: 50ms}\n    retry: {attempts: 0}",
        )
    )
    (standing,) = [each.standing for each in gateway.state.routing.backends.values()]
    terms = []
    for _ in range(3):
        await eventually(lambda: standing.may_try(asyncio.get_running_loop().time()))
        assert (await gateway.request("GET", "/x")).code == "upstream_unreachable"
        terms.append(standing._term)
    assert terms == [0.02, 0.04, 0.05]


@pytest.mark.parametrize("handler", [None, resets, garbage, silence])
async def test_one_bad_target_of_three_is_ejected(
    start_gateway: Start, start_backend: StartBackend, handler: Handler | None
) -> None:
    good = [await start_backend() for _ in range(2)]
    async with Optional(handler, free_port()) as bad:
        port = bad.port if bad is not None else free_port()
        # The good targets must not look silent when the machine stalls.
        patience = "2s" if handler is silence else "30s"
        more = f"balance: round_robin\n    timeout: {{first_byte: {patience}}}\n    ejection: {{time: 5m}}"
        gateway = await start_gateway(_routes(port, *(each.port for each in good), more=more))
        statuses = Counter([(await gateway.request("GET", "/x")).status for _ in range(60)])
    # A request that failed without a byte is retried elsewhere; an invalid response or a timeout is returned
    # to the client, until the fifth failure ejects the target.
    lost = 5 if handler in (garbage, silence) else 0
    assert statuses[200] == 60 - lost
    assert sum(statuses.values()) - statuses[200] == lost
    assert bad is None or bad.connections == 5


async def test_response_that_breaks_in_its_body_is_cut(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    backends = [await start_backend(breaks_off) for _ in range(2)]
    gateway = await start_gateway(_routes(*(backend.port for backend in backends)))
    before = _refusals("upstream_cut", "response_body")
    wire = await gateway.connect()
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await wire.request("GET", "/x")
    assert sum(len(backend.received) for backend in backends) == 1
    assert _refusals("upstream_cut", "response_body") == before + 1


async def test_killing_and_restarting_a_target_under_load_loses_no_request(
    start_gateway: Start, three: list[Process]
) -> None:
    more = "ejection: {time: 100ms}"
    gateway = await start_gateway(_routes(*(process.port for process in three), more=more))
    statuses, seen, stop = Counter[int](), Counter[bytes](), asyncio.Event()
    clients = [asyncio.create_task(_ask_until(stop, gateway, statuses, seen)) for _ in range(CLIENTS)]
    await eventually(lambda: len(seen) == 3)
    await three[0].kill()
    total = statuses.total()
    await eventually(lambda: statuses.total() > total + 300)
    await three[0].start()
    await eventually(lambda: len(seen) == 4)
    stop.set()
    await asyncio.gather(*clients)
    # A killed process had at most one request of each client, and those were retried elsewhere.
    assert statuses == {200: statuses.total()}


async def test_target_that_hangs_and_recovers_under_load_causes_only_timeouts(
    start_gateway: Start, three: list[Process]
) -> None:
    more = "ejection: {failures: 2, time: 100ms}\n    timeout: {first_byte: 300ms}"
    gateway = await start_gateway(_routes(*(process.port for process in three), more=more))
    statuses, seen, stop = Counter[int](), Counter[bytes](), asyncio.Event()
    clients = [asyncio.create_task(_ask_until(stop, gateway, statuses, seen)) for _ in range(CLIENTS)]
    await eventually(lambda: len(seen) == 3)
    before = _refusals("upstream_timeout", "first_byte")
    three[0].send(signal.SIGSTOP)
    standing = next(
        backend.standing
        for backend in gateway.state.routing.backends.values()
        if backend.origin.port == three[0].port
    )
    await eventually(lambda: standing.is_ejected)
    total = statuses.total()
    await eventually(lambda: statuses.total() > total + 300)
    three[0].send(signal.SIGCONT)
    await eventually(lambda: not standing.is_ejected)
    stop.set()
    await asyncio.gather(*clients)
    timeouts = _refusals("upstream_timeout", "first_byte") - before
    assert statuses == {200: statuses.total() - timeouts, 504: timeouts}
    assert timeouts < CLIENTS * 3


@pytest.mark.parametrize("way", ["close", "reset"])
async def test_client_that_disconnects_while_its_body_is_held_back_is_noticed(
    start_gateway: Start, start_backend: StartBackend, way: str
) -> None:
    async def reads_nothing(conversation: Conversation) -> None:
        await conversation.head()
        await gone.wait()
        while await conversation.reader.read(1 << 20):
            pass

    gone = asyncio.Event()
    backend = await start_backend(reads_nothing)
    gateway = await start_gateway(_routes(backend.port, more="body_max: 1GiB\n    timeout: {idle: 1h}"))
    wire = await gateway.connect()
    await wire.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
    while not (backend.received and gateway.state.hangups._watched):
        wire.writer.write(os.urandom(1 << 16))
        await asyncio.sleep(0)
    if way == "reset":
        connection = wire.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.writer.transport.abort()
    await eventually(lambda: not gateway.state.open and not gateway.state.hangups._watched)
    gone.set()
    async with asyncio.timeout(10):
        await backend.lost.wait()


class Optional:
    """A backend on this port, or none."""

    def __init__(self, handler: Handler | None, port: int) -> None:
        self._backend = Backend(handler, port) if handler is not None else None

    async def __aenter__(self) -> Backend | None:
        return self._backend and await self._backend.__aenter__()

    async def __aexit__(self, *_: object) -> None:
        if self._backend is not None:
            await self._backend.__aexit__()


async def eventually_answers(gateway: RunningGateway) -> None:
    async with asyncio.timeout(20):
        while (await gateway.request("GET", "/x")).status != 200:
            pass


async def _ask_until(
    stop: asyncio.Event, gateway: RunningGateway, statuses: Counter[int], seen: Counter[bytes]
) -> None:
    wire: Wire = await gateway.connect()
    while not stop.is_set():
        answer = await wire.request("GET", "/x")
        statuses[answer.status] += 1
        if answer.status == 200:
            seen[answer.body] += 1


def _routes(*ports: int, more: str = "") -> str:
    listed = ", ".join(f"'http://127.0.0.1:{port}'" for port in ports)
    return f"""
routes:
  - path: /x
    name: faulty
    backends: [{listed}]
    auth: none
    {more}
defaults: {{rate_limit: {{rate: 100000/s}}}}
"""


def _ejections(port: int) -> float:
    return REGISTRY.get_sample_value("gateway_ejections_total", {"target": f"127.0.0.1:{port}"}) or 0


def _refusals(code: str, phase: str) -> float:
    labels = {"route": "faulty", "code": code, "phase": phase}
    return REGISTRY.get_sample_value("gateway_refusals_total", labels) or 0
