"""One backend under constant load that fails and recovers: the right error, without a restart."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from prometheus_client import REGISTRY

from tests.gateway.backends import Backend, Conversation, Received
from tests.gateway.conftest import Start, StartBackend
from tests.gateway.support import RunningGateway, Wire, eventually
from tests.gateway.test_upstreams_retries import reset

CLIENTS = 8
ERRORS_SEEN = 12
BODY = b"x" * 1000
LARGE = b"x" * (12 << 20)  # more than fits into the buffers between a client and a backend that does not read

Illness = Callable[[Conversation, Received], Awaitable[None]]


async def hangs(conversation: Conversation, _received: Received) -> None:
    await conversation.reader.read()


async def speaks_nonsense(conversation: Conversation, _received: Received) -> None:
    await conversation.send("SSH-2.0-OpenSSH_9.2\r\n")
    await conversation.reader.read()


async def dies_without_a_word(conversation: Conversation, _received: Received) -> None:
    reset(conversation)


async def dies_in_its_head(conversation: Conversation, _received: Received) -> None:
    await conversation.send("HTTP/1.1 200 OK\r\nContent-Le")
    reset(conversation)


async def closes_politely(conversation: Conversation, _received: Received) -> None:
    conversation.writer.close()


async def dies_in_its_body(conversation: Conversation, _received: Received) -> None:
    await conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    reset(conversation)


async def stalls_in_its_body(conversation: Conversation, _received: Received) -> None:
    await conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    await conversation.reader.read()


async def stalls_in_its_head(conversation: Conversation, _received: Received) -> None:
    await conversation.send("HTTP/1.1 200 OK\r\nContent-Le")
    await conversation.reader.read()


async def drips(conversation: Conversation, received: Received) -> None:
    for (
        byte
    ) in f"HTTP/1.1 200 OK\r\nContent-Length: {len(received.target)}\r\n\r\n{received.target}".encode():
        await conversation.send(bytes([byte]))


async def test_client_that_waits_in_vain_for_100_continue_ejects_no_target(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    async def never_says_continue(conversation: Conversation) -> None:
        received = await conversation.head()
        if received is not None and received.value("expect") is not None:
            await conversation.reader.read()
        await conversation.answer(b"well")

    backend = await start_backend(never_says_continue)
    gateway = await start_gateway(
        f'routes: [{{path: /x, backend: "{backend.url}", auth: none, timeout: {{idle: 100ms}}}}]'
    )
    waits = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
    told = await asyncio.gather(*(gateway.raw(waits) for _ in range(6)))
    assert all(answer.startswith(b"HTTP/1.1 504 ") for answer in told)
    assert (await gateway.request("GET", "/x")).status == 200


class Patient:
    """A backend that responds with the request target while it is healthy."""

    def __init__(self) -> None:
        self.illness: Illness | None = None
        self.reads_bodies = True

    async def __call__(self, conversation: Conversation) -> None:
        while (received := await conversation.head()) is not None:
            if not self.reads_bodies:
                await asyncio.Event().wait()
            async for _ in conversation.pieces(received):
                pass
            if self.illness is None:
                await conversation.answer(received.target.encode())
            else:
                await self.illness(conversation, received)


class Load:
    """Clients that send requests without a pause and count the outcomes."""

    def __init__(self, gateway: RunningGateway, body: bytes = BODY) -> None:
        self.outcomes: Counter[tuple[int, str, str]] = Counter()
        self._gateway, self._body = gateway, body
        self._is_over = False

    async def run(self, number: int) -> None:
        wire = await self._gateway.connect()
        asked = 0
        while not self._is_over:
            asked += 1
            outcome = await self._ask(wire, f"/x/{number}/{asked}")
            self.outcomes[outcome] += 1
            if outcome[0] != 200:
                await wire.close()
                wire = await self._gateway.connect()

    async def _ask(self, wire: Wire, target: str) -> tuple[int, str, str]:
        try:
            answer = await wire.request("POST", target, body=self._body)
        except (asyncio.IncompleteReadError, ConnectionError):
            return (0, "cut", "")
        if answer.status == 200:
            assert answer.body.decode() == target, "a response to another request"
            return (200, "", "")
        return (answer.status, answer.code, answer.json()["phase"])

    async def is_well_again(self) -> None:
        """Wait until all clients are served as before."""
        before = self.outcomes[200, "", ""]
        await eventually(lambda: self.outcomes[200, "", ""] > before + 10 * CLIENTS)

    def stop(self) -> None:
        self._is_over = True


@pytest.mark.parametrize(
    ("illness", "status", "code", "phase"),
    [
        (hangs, 504, "upstream_timeout", "first_byte"),
        (stalls_in_its_head, 504, "upstream_timeout", "first_byte"),
        (speaks_nonsense, 502, "upstream_invalid", "first_byte"),
        (dies_without_a_word, 502, "upstream_reset", "first_byte"),
        (dies_in_its_head, 502, "upstream_reset", "first_byte"),
        (closes_politely, 502, "upstream_reset", "first_byte"),
        (dies_in_its_body, 0, "upstream_cut", "response_body"),
        (stalls_in_its_body, 0, "upstream_timeout", "response_body"),
        (drips, 200, "", ""),
    ],
)
async def test_backend_that_fails_and_recovers_under_load_causes_one_kind_of_error(
    start_gateway: Start, illness: Illness, status: int, code: str, phase: str
) -> None:
    patient = Patient()
    async with Backend(patient) as backend:
        gateway = await start_gateway(_route(backend))
        load, before = Load(gateway), _refusals(code, phase)
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(load.run(number))
            await load.is_well_again()
            patient.illness = illness
            expected = (0, "cut", "") if status == 0 else (status, code, phase)
            seen = load.outcomes[expected]
            await eventually(lambda: load.outcomes[expected] >= seen + ERRORS_SEEN)
            patient.illness = None
            await load.is_well_again()
            load.stop()
    assert set(load.outcomes) == {(200, "", ""), expected}
    if status == 0:
        assert _refusals(code, phase) - before == load.outcomes[expected]


async def test_backend_that_stops_and_restarts_under_load_is_used_again(start_gateway: Start) -> None:
    patient = Patient()
    async with Backend(patient) as backend:
        gateway = await start_gateway(_route(backend))
        load = Load(gateway)
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(load.run(number))
            await load.is_well_again()
            await backend.__aexit__()
            refused = (502, "upstream_unreachable", "connect")
            await eventually(lambda: load.outcomes[refused] >= ERRORS_SEEN)
            await backend.__aenter__()
            await load.is_well_again()
            load.stop()
    lost = (502, "upstream_reset", "first_byte")  # requests that were in progress
    assert set(load.outcomes) - {lost} == {(200, "", ""), refused}
    assert load.outcomes[lost] <= CLIENTS


async def test_backend_that_stops_reading_and_resumes_is_used_again(start_gateway: Start) -> None:
    patient = Patient()
    async with Backend(patient) as backend:
        gateway = await start_gateway(_route(backend))
        patient.reads_bodies = False
        load = Load(gateway, LARGE)
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run(0))
            await eventually(lambda: load.outcomes.total() > 0)
            patient.reads_bodies = True
            await eventually(lambda: load.outcomes[200, "", ""] > 0)
            load.stop()
    assert set(load.outcomes) == {(504, "upstream_timeout", "request_body"), (200, "", "")}


async def test_backend_that_dies_during_the_request_body_causes_a_502(start_gateway: Start) -> None:
    async def dies(conversation: Conversation) -> None:
        await conversation.head()
        reset(conversation)

    async with Backend(dies) as backend:
        gateway = await start_gateway(_route(backend))
        wire = await gateway.connect()
        await wire.send(
            f"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {len(LARGE)}\r\n\r\n", LARGE[: 1 << 17]
        )
        answer = await wire.answer()
    assert (answer.status, answer.code, answer.json()["phase"]) == (502, "upstream_reset", "request_body")


def _route(backend: Backend) -> str:
    return f"""
routes:
  - path: /x
    name: patient
    backend: {backend.url}
    auth: none
    rate_limit: {{rate: 100000/s}}
    body_max: 1GiB
    timeout: {{first_byte: 2s, idle: 2s}}
    ejection: {{failures: 0}}
"""


def _refusals(code: str, phase: str) -> float:
    labels = {"route": "patient", "code": code, "phase": phase}
    return REGISTRY.get_sample_value("gateway_refusals_total", labels) or 0
