"""Every response of a backend is passed on, replaced or cut off, and never mistaken for another one."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.gateway.backends import Conversation
from tests.gateway.conftest import Start, StartBackend
from tests.gateway.corpus.answers import CASES, Answered
from tests.gateway.support import RunningGateway, Wire

SECONDS_MAX = 10


def once(case: Answered, has_come: asyncio.Event) -> Callable[[Conversation], object]:
    """Return a handler that responds to the first request with this case, and to others with their target."""

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
async def test_next_request_gets_its_own_response(
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
            has_come.set()
            if b"PAUSE" in case.sent:  # unsolicited data makes the connection unusable
                await backend.lost.wait()
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


PARTS = [
    *(
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\n\r\n",
        b" ",
        b"\t",
        b"\0",
        b":",
        b";",
        b",",
        b"0",
        b"1",
        b"9",
        b"f",
        b"-",
        b"x",
    ),
    *(b"\r\nContent-Length: 3", b"\r\nTransfer-Encoding: chunked", b"\r\nConnection: close", b"\xff"),
    *(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", b"0\r\n\r\n"),
]


@st.composite
def changed(draw: st.DrawFn) -> bytes:
    data = draw(st.sampled_from([case.sent for case in CASES if len(case.sent) < 1000]))
    for _ in range(draw(st.integers(1, 4))):
        start, cut = draw(st.integers(0, len(data))), draw(st.sampled_from([0, 0, 1, 2, 8]))
        data = data[:start] + draw(st.sampled_from([b"", *PARTS])) + data[start + cut :]
    return data


@pytest.fixture
async def changing(start_gateway: Start, start_backend: StartBackend) -> tuple[RunningGateway, list[bytes]]:
    """A gateway, and the responses that its backend sends to requests for /odd."""
    answers: list[bytes] = []

    async def handle(conversation: Conversation) -> None:
        while (received := await conversation.request()) is not None:
            if received.target == "/odd":
                await conversation.send(answers.pop())
            else:
                await conversation.answer(b"mine")

    backend = await start_backend(handle)
    # Both routes lead to one target and share its connections; only /odd has short timeouts.
    return await start_gateway(f"""
routes:
  - {{path: /mine, backend: "{backend.url}"}}
  - {{path: /odd, backend: "{backend.url}", timeout: {{first_byte: 50ms, idle: 50ms}}}}
defaults:
  auth: none
  rate_limit: {{rate: 100000/s}}
  retry: {{attempts: 0}}
  ejection: {{failures: 0}}
"""), answers


@given(changed(), st.sampled_from(["GET", "HEAD"]))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_broken_response_never_reaches_another_client(
    changing: tuple[RunningGateway, list[bytes]], answer: bytes, method: str
) -> None:
    gateway, answers = changing
    answers.append(answer)
    with capture_logs() as logs:
        wire = await gateway.connect()
        await wire.send(f"{method} /odd HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        with suppress(ConnectionResetError):  # how a response that has begun is cut off
            async with asyncio.timeout(SECONDS_MAX):
                await wire.reader.read()
        await wire.close()
        for _ in range(2):
            mine = await gateway.request("GET", "/mine")
            assert (mine.status, mine.body) == (200, b"mine")
    assert not [entry for entry in logs if entry["log_level"] in ("error", "critical")]


async def test_connection_with_an_unread_body_is_not_reused(
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
    # More than fits into the buffers of the system and of the event loop.
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
async def test_switch_to_a_protocol_that_was_not_requested_is_refused(
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
