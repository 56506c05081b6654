"""Whatever a backend answers: it is passed on, replaced or cut off, and never taken for another answer."""

import asyncio
from collections.abc import Callable

import pytest

from tests.gateway.backends import Conversation
from tests.gateway.conftest import Start, StartBackend
from tests.gateway.corpus.answers import CASES, Answered
from tests.gateway.support import Wire

SECONDS_MAX = 10


def once(case: Answered, has_come: asyncio.Event) -> Callable[[Conversation], object]:
    """Answers the first request like that, and all others with their target."""

    async def handle(conversation: Conversation) -> None:
        while (received := await conversation.request()) is not None:
            if received.target != "/open/first":
                await conversation.answer(received.target.encode())
                continue
            first, _, second = case.sent.partition(b"PAUSE")
            await conversation.send(first)
            if second:
                await has_come.wait()
                await conversation.send(second)
            if case.closes:
                return

    return handle


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_the_next_request_gets_its_own_answer(
    start_gateway: Start, start_backend: StartBackend, case: Answered
) -> None:
    has_come = asyncio.Event()
    backend = await start_backend(once(case, has_come))
    gateway = await start_gateway(
        f"routes: [{{path: /open, backend: '{backend.url}', auth: none, retry: {{attempts: 0}}}}]"
    )
    wire = await gateway.connect()
    async with asyncio.timeout(SECONDS_MAX):
        await wire.send(f"{case.method} /open/first HTTP/1.1\r\nHost: a\r\n\r\n")
        if case.body is None:
            await _is_cut(wire, has_come)
            wire = await gateway.connect()
        else:
            await _is_answered(wire, case)
        for number in range(3):
            answer = await wire.request("GET", f"/open/{number}")
            assert (answer.status, answer.body.decode()) == (200, f"/open/{number}")
    assert backend.connections == (1 if case.is_kept else 2)


async def _is_answered(wire: Wire, case: Answered) -> None:
    answer = await wire.answer(case.method)
    while answer.status < 200:
        answer = await wire.answer(case.method)
    assert answer.status == case.status
    assert (answer.code.encode() if answer.status == 502 else answer.body) == case.body


async def _is_cut(wire: Wire, has_come: asyncio.Event) -> None:
    assert (await wire.head()).status == 200
    has_come.set()
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await wire.reader.readuntil(b"0\r\n\r\n")


async def test_a_connection_with_a_body_nobody_reads_serves_nobody_else(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    async def answers_at_once(conversation: Conversation) -> None:
        received = await conversation.head()
        while received is not None:
            await conversation.answer(received.target.encode())
            if received.method == "POST":
                await over.wait()
            received = await conversation.head()

    over = asyncio.Event()
    backend = await start_backend(answers_at_once)
    gateway = await start_gateway(f"routes: [{{path: /open, backend: '{backend.url}', auth: none}}]")
    wire = await gateway.connect()
    # More than lies in the buffers of the system and of the loop, and is sent before an answer can come.
    body = b"x" * (8 << 20)
    async with asyncio.timeout(SECONDS_MAX):
        sending = asyncio.create_task(
            wire.send(f"POST /open/first HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n", body)
        )
        assert (await wire.answer()).body == b"/open/first"
        await sending
        other = await gateway.connect()
        assert (await other.request("GET", "/open/second")).body == b"/open/second"
    over.set()
    assert backend.connections == 2


@pytest.mark.parametrize("protocol", ["h2c", "raw, h2c", "other"])
async def test_only_a_protocol_that_was_asked_for_is_switched_to(
    start_gateway: Start, start_backend: StartBackend, protocol: str
) -> None:
    async def switches(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.send(f"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n\r\n")
        await conversation.reader.read()

    backend = await start_backend(switches)
    gateway = await start_gateway(f"routes: [{{path: /open, backend: '{backend.url}', auth: none}}]")
    answer = await gateway.request("GET", "/open", {"Connection": "upgrade", "Upgrade": "websocket, RAW"})
    assert (answer.status, answer.code) == (502, "upstream_invalid")
