"""Bodies of any size, slow peers, and peers that disconnect."""

import asyncio
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.telemetry import metrics
from tests.gateway.backends import Backend, Conversation
from tests.gateway.conftest import Start, StartBackend
from tests.gateway.support import RunningGateway, Wire, eventually

MIB = 1 << 20
BODY_BYTES = 100 * MIB
GROWTH_BYTES_MAX = 24 * MIB
PIECE = os.urandom(64 * 1024)
SECONDS_MAX = 10


def resident_bytes() -> int:
    if sys.platform == "linux":
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


async def test_large_upload_waits_for_a_slow_backend(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    read = 0
    go_on = asyncio.Event()

    async def slow(conversation: Conversation) -> None:
        nonlocal read
        received = await conversation.head()
        assert received is not None
        await go_on.wait()
        async for piece in conversation.pieces(received):
            read += len(piece)
        await conversation.answer(b"stored", "201 Created")

    gateway = await start_gateway(_route(await start_backend(slow)))
    wire = await gateway.connect()
    before = resident_bytes()
    await wire.send(f"POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY_BYTES}\r\n\r\n")
    sent = await _send_until_held(wire, BODY_BYTES)
    assert sent < 32 * MIB, "the gateway accepted everything while the backend read nothing"
    go_on.set()
    while sent < BODY_BYTES:
        await wire.send(PIECE)
        sent += len(PIECE)
    assert (await wire.answer()).status == 201
    assert read == BODY_BYTES
    assert resident_bytes() - before < GROWTH_BYTES_MAX


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_large_download_waits_for_a_slow_reader(
    start_gateway: Start, start_backend: StartBackend, framing: str
) -> None:
    written = 0

    async def large(conversation: Conversation) -> None:
        nonlocal written
        await conversation.request()
        field = f"Content-Length: {BODY_BYTES}" if framing == "length" else "Transfer-Encoding: chunked"
        await conversation.send(f"HTTP/1.1 200 OK\r\n{field}\r\n\r\n")
        while written < BODY_BYTES:
            piece = PIECE if framing == "length" else b"%x\r\n%b\r\n" % (len(PIECE), PIECE)
            await conversation.send(piece)
            written += len(PIECE)
        await conversation.send(b"0\r\n\r\n" if framing == "chunked" else b"")

    gateway = await start_gateway(_route(await start_backend(large)))
    wire = await gateway.connect()
    before = resident_bytes()
    await wire.send("GET /open HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await wire.head()).status == 200
    await _settled(lambda: written)
    assert written < 32 * MIB, "the backend could send everything while the client read nothing"
    left = BODY_BYTES
    while left:
        if framing == "chunked":
            size = int(await wire.reader.readuntil(b"\r\n"), 16)
            left -= len((await wire.reader.readexactly(size + 2))[:-2])
        else:
            left -= len(await wire.reader.read(1 << 18))
    assert resident_bytes() - before < GROWTH_BYTES_MAX
    assert written == BODY_BYTES


async def test_both_directions_stream_concurrently(start_gateway: Start, start_backend: StartBackend) -> None:
    async def upper(conversation: Conversation) -> None:
        received = await conversation.head()
        assert received is not None
        await conversation.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        async for piece in conversation.pieces(received):
            await conversation.send(b"%x\r\n%b\r\n" % (len(piece), piece.upper()))
        await conversation.send(b"0\r\n\r\n")

    gateway = await start_gateway(_route(await start_backend(upper)))
    wire = await gateway.connect()
    await wire.send("POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert (await wire.head()).status == 200
    for word in (b"one", b"two", b"three"):
        await wire.send(b"%x\r\n%b\r\n" % (len(word), word))
        assert await wire.reader.readuntil(b"\r\n") == b"%x\r\n" % len(word)
        assert await wire.reader.readexactly(len(word) + 2) == word.upper() + b"\r\n"
    await wire.send(b"0\r\n\r\n")
    assert await wire.reader.readexactly(5) == b"0\r\n\r\n"
    assert (await wire.request("POST", "/open", body=b"x")).body == b"X"


@pytest.mark.parametrize("phase", ["waiting", "uploading", "downloading"])
async def test_client_that_disconnects_ends_the_request(
    start_gateway: Start, start_backend: StartBackend, phase: str
) -> None:
    arrived = asyncio.Event()

    async def hangs(conversation: Conversation) -> None:
        await conversation.head()
        if phase == "downloading":
            await conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nabc")
        arrived.set()
        await conversation.reader.read()

    backend = await start_backend(hangs)
    gateway = await start_gateway(_route(backend))
    wire = await gateway.connect()
    length = 100_000 if phase == "uploading" else 0
    await wire.send(f"POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")
    async with asyncio.timeout(SECONDS_MAX):
        await arrived.wait()
        await wire.close()
        await backend.lost.wait()
    await eventually(lambda: not gateway.state.open)


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        ("Content-Type: Text/Event-Stream; charset=utf-8", 200, None),
        ("Content-Type: text/plain", 200, "client_gone"),
        ("", 499, "client_gone"),
    ],
    ids=["stream", "download", "waiting"],
)
async def test_client_that_leaves_is_no_error_of_the_gateway(
    start_gateway: Start, start_backend: StartBackend, answer: str, status: int, code: str | None
) -> None:
    async def never_ends(conversation: Conversation) -> None:
        await conversation.head()
        if answer:
            await conversation.send(f"HTTP/1.1 200 OK\r\n{answer}\r\n\r\ndata: 1\n\n")
        await conversation.reader.read()

    backend = await start_backend(never_ends)
    gateway = await start_gateway(_route(backend, "body_max: 10"))
    metrics.RECENT.clear()
    wire = await gateway.connect()
    with capture_logs() as lines:
        await wire.send("GET /open HTTP/1.1\r\nHost: a\r\n\r\n")
        if answer:
            assert (await wire.head()).status == 200
        else:
            await eventually(lambda: bool(gateway.state.open))
        await wire.close()
        await eventually(lambda: any(line["event"] == "request" for line in lines))
    (access,) = [line for line in lines if line["event"] == "request"]

    assert (access["status"], access.get("code")) == (status, code)
    assert (await gateway.request("POST", "/open", body=b"too much for it")).status == 413
    assert [one["status"] for one in metrics.RECENT] == [413]


async def test_backend_that_dies_in_the_body_cuts_the_response(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    heads = iter(["Content-Length: 99\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"])

    async def dies(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send("HTTP/1.1 200 OK\r\n", next(heads))

    gateway = await start_gateway(_route(await start_backend(dies)))
    for _ in range(2):
        wire = await gateway.connect()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await wire.request("GET", "/open")


async def test_response_that_breaks_in_its_first_read_is_replaced(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    async def breaks(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n")
        await conversation.reader.read()

    answer = await (await start_gateway(_route(await start_backend(breaks)))).request("GET", "/open")
    assert (answer.status, answer.code) == (502, "upstream_invalid")


async def test_backend_that_dies_without_a_response_causes_a_502(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    async def dies(conversation: Conversation) -> None:
        await conversation.request()

    answer = await (await start_gateway(_route(await start_backend(dies)))).request("GET", "/open")
    assert (answer.status, answer.code) == (502, "upstream_reset")
    assert (answer.json()["source"], answer.json()["phase"]) == ("upstream", "first_byte")


@pytest.mark.parametrize(
    "answer",
    [
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 999 X\r\n\r\n",
    ],
)
async def test_invalid_response_becomes_a_502(
    start_gateway: Start, start_backend: StartBackend, answer: str
) -> None:
    async def nonsense(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(answer)
        await conversation.reader.read()

    refused = await (await start_gateway(_route(await start_backend(nonsense)))).request("GET", "/open")
    assert (refused.status, refused.code) == (502, "upstream_invalid")


async def test_unreachable_backend_causes_a_502(start_gateway: Start, start_backend: StartBackend) -> None:
    backend = await start_backend()
    await backend.__aexit__()
    answer = await (await start_gateway(_route(backend))).request("GET", "/open")
    assert (answer.status, answer.code, answer.json()["phase"]) == (502, "upstream_unreachable", "connect")


async def test_backend_that_does_not_respond_in_time_causes_a_504(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    async def silent(conversation: Conversation) -> None:
        await conversation.reader.read()

    backend = await start_backend(silent)
    gateway = await start_gateway(_route(backend, "timeout: {first_byte: 100ms}"))
    answer = await gateway.request("GET", "/open")
    assert (answer.status, answer.code, answer.json()["phase"]) == (504, "upstream_timeout", "first_byte")
    async with asyncio.timeout(SECONDS_MAX):
        await backend.lost.wait()


async def test_backend_that_stalls_in_the_body_is_cut(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    async def stalls(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nabc")
        await conversation.reader.read()

    gateway = await start_gateway(_route(await start_backend(stalls), "timeout: {idle: 100ms}"))
    wire = await gateway.connect()
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await wire.request("GET", "/open")


async def test_client_that_stalls_in_its_body_gets_a_408(start_gateway: Start, backend: Backend) -> None:
    gateway = await start_gateway(_route(backend, "timeout: {idle: 100ms}"))
    wire = await gateway.connect()
    await wire.send("POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nabc")
    answer = await wire.answer()
    assert (answer.status, answer.code, answer.json()["source"]) == (408, "request_timeout", "client")


async def test_slow_stream_may_outlast_all_timeouts(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    async def drips(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for number in range(16):
            await asyncio.sleep(0.2)  # the rate of the stream, not a wait for something else
            await conversation.send(f"data: {number}\n\n")

    gateway = await start_gateway(_route(await start_backend(drips), "timeout: {first_byte: 2s, idle: 2s}"))
    answer = await gateway.request("GET", "/open")
    assert answer.body.count(b"data:") == 16


async def test_stale_connection_is_replaced_for_idempotent_requests(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    async def one_each(conversation: Conversation) -> None:
        """Keep the connection open after the first response, and drop it on the second request."""
        received = await conversation.request()
        body = b"first" if received and received.method != "HEAD" else b""
        await conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", body)
        await conversation.request()

    backend = await start_backend(one_each)
    gateway = await start_gateway(_route(backend))
    wire = await gateway.connect()
    assert (await wire.request("GET", "/open")).body == b"first"
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        assert (await wire.request(method, "/open/again")).status == 200
    targets = [request.target for request in backend.received]
    assert targets.count("/open/again") == 8


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_non_idempotent_request_is_never_sent_twice(
    start_gateway: Start, start_backend: StartBackend, method: str
) -> None:
    async def one_each(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.answer(b"first")
        await conversation.request()

    backend = await start_backend(one_each)
    gateway = await start_gateway(_route(backend))
    wire = await gateway.connect()
    await wire.request("GET", "/open")
    answer = await wire.request(method, "/open/again", body=b"x")
    assert (answer.status, answer.code) == (502, "upstream_reset")
    assert [request.target for request in backend.received].count("/open/again") == 1


async def test_unsolicited_response_reaches_no_client(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    async def poisons(conversation: Conversation) -> None:
        while await conversation.request():
            evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
            await conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood", evil)

    backend = await start_backend(poisons)
    gateway = await start_gateway(_route(backend))
    wire = await gateway.connect()
    assert [(await wire.request("GET", "/open")).body for _ in range(3)] == [b"good"] * 3


async def test_body_over_the_limit_is_refused(start_gateway: Start, backend: Backend) -> None:
    gateway = await start_gateway(_route(backend, "body_max: 1KiB"))
    announced = await gateway.request("POST", "/open", body=b"x" * 1025)
    assert (announced.status, announced.code) == (413, "body_too_large")
    assert not backend.received
    wire = await gateway.connect()
    await wire.send("POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(3):
        await wire.send(f"{500:x}\r\n", b"x" * 500, "\r\n")
    streamed = await wire.answer()
    assert (streamed.status, streamed.code) == (413, "body_too_large")
    exact = await gateway.request("POST", "/open", body=b"x" * 1024)
    assert exact.status == 200


async def test_body_of_a_pipelined_request_is_limited_as_well(start_gateway: Start, backend: Backend) -> None:
    gateway = await start_gateway(_route(backend, "body_max: 1KiB"))
    wire = await gateway.connect()
    post = "POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    await wire.send("GET /open HTTP/1.1\r\nHost: a\r\n\r\n", post, f"{1025:x}\r\n{'x' * 1025}\r\n0\r\n\r\n")
    assert (await wire.answer()).status == 200
    assert (await wire.answer()).code == "body_too_large"
    assert len(backend.received) == 1


async def test_refusal_reaches_a_client_that_is_still_sending(gateway: RunningGateway) -> None:
    wire = await gateway.connect()
    await wire.send(f"POST /orders HTTP/1.1\r\nHost: a\r\nContent-Length: {5 * MIB}\r\n\r\n")
    for _ in range(16):
        await wire.send(PIECE)
    answer = await wire.answer()
    assert (answer.status, answer.value("connection")) == (401, "close")


async def test_refused_small_body_keeps_the_connection(gateway: RunningGateway) -> None:
    wire = await gateway.connect()
    await wire.send("POST /orders HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
    answer = await wire.answer()
    assert (answer.status, answer.value("connection")) == (401, None)
    await wire.send("12345")
    assert (await wire.request("GET", "/open")).status == 200


async def _send_until_held(wire: Wire, most: int) -> int:
    """Send until the gateway stops reading; return the number of bytes sent."""
    sent = 0
    while sent < most:
        wire.writer.write(PIECE)
        sent += len(PIECE)
        try:
            await asyncio.wait_for(wire.writer.drain(), 0.5)
        except TimeoutError:
            break
    return sent


async def _settled(value: Callable[[], int]) -> None:
    """Wait until a number has stopped growing."""
    before = -1
    while before != value():
        before = value()
        await asyncio.sleep(0.3)


def _route(backend: Backend, more: str = "") -> str:
    return f"""
routes:
  - path: /open
    backend: {backend.url}
    auth: none
    {more}
defaults: {{body_max: 1GiB, rate_limit: {{rate: 100000/s}}}}
"""
