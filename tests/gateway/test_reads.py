"""Many small things in one read: chunks, and pipelined requests."""

import pytest

from gateway.forwarding.exchange import Exchange
from gateway.http.framing import HEAD_BYTES_MAX
from tests.gateway.backends import Backend, Conversation
from tests.gateway.conftest import StartBackend
from tests.gateway.support import RunningGateway

BODY = bytes(n % 251 for n in range(5000))
CHUNKS = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"


def counted(monkeypatch: pytest.MonkeyPatch, name: str) -> list[int]:
    """Return the lengths of the pieces that an exchange receives."""
    found: list[int] = []
    real = getattr(Exchange, name)

    def counting(self: Exchange, piece: bytes) -> None:
        found.append(len(piece))
        real(self, piece)

    monkeypatch.setattr(Exchange, name, counting)
    return found


async def test_small_chunks_of_one_read_are_forwarded_as_one(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = counted(monkeypatch, "request_body")
    wire = await gateway.connect()
    await wire.send("POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNKS)
    answer = await wire.answer()

    assert answer.json()["body"].encode("latin-1") == BODY
    assert len(pieces) < 50


async def test_small_chunks_of_a_response_are_forwarded_as_one(
    start_backend: StartBackend, gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def in_small_chunks(conversation: Conversation) -> None:
        while await conversation.request() is not None:
            await conversation.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNKS)

    backend = await start_backend(in_small_chunks)
    gateway.write(f"routes: [{{path: /small, backend: '{backend.url}', auth: none}}]")
    await gateway.reload.now()
    pieces = counted(monkeypatch, "answer_body")
    wire = await gateway.connect()
    for _ in range(2):
        assert (await wire.request("GET", "/small")).body == BODY

    assert len(pieces) < 100


@pytest.mark.parametrize("body_max", [4999, 5000])
async def test_small_chunks_count_against_body_max(
    gateway: RunningGateway, backend: Backend, body_max: int
) -> None:
    gateway.write(f"routes: [{{path: /open, backend: '{backend.url}', auth: none, body_max: {body_max}}}]")
    outcome = await gateway.reload.now()
    assert outcome.success, outcome
    wire = await gateway.connect()
    await wire.send("POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNKS)

    assert (await wire.answer()).status == (200 if body_max >= len(BODY) else 413)


@pytest.mark.parametrize("path", ["/open", "/health/live"])
async def test_large_pipelined_heads_all_get_responses(gateway: RunningGateway, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: a\r\nX-Long: {'x' * 7600}\r\n\r\n"
    wire = await gateway.connect()
    await wire.send(request * 40)

    assert [(await wire.answer()).status for _ in range(40)] == [200] * 40


@pytest.mark.parametrize("before", [0, 1, 9])
async def test_head_that_is_too_large_is_refused_after_others_as_well(
    gateway: RunningGateway, before: int
) -> None:
    small = f"GET /open HTTP/1.1\r\nHost: a\r\nX-Long: {'x' * 7600}\r\n\r\n"
    fields = "".join(f"X-{n}: {'x' * 1000}\r\n" for n in range(HEAD_BYTES_MAX // 1000 + 1))
    wire = await gateway.connect()
    await wire.send(small * before, f"GET /open HTTP/1.1\r\nHost: a\r\n{fields}\r\n")

    statuses = [(await wire.answer()).status for _ in range(before + 1)]
    assert statuses == [200] * before + [431]


async def test_endless_head_is_refused_after_others_as_well(gateway: RunningGateway) -> None:
    small = f"GET /open HTTP/1.1\r\nHost: a\r\nX-Long: {'x' * 7600}\r\n\r\n"
    wire = await gateway.connect()
    await wire.send(small, "GET /open HTTP/1.1\r\nHost: a\r\nX-Long: ", "x" * (HEAD_BYTES_MAX * 6))

    assert [(await wire.answer()).status for _ in range(2)] == [200, 431]


@pytest.mark.parametrize("expected", ["100-continue", "100-Continue"])
async def test_expect_100_continue_is_forwarded(gateway: RunningGateway, expected: str) -> None:
    answer = await gateway.request("POST", "/open", {"Expect": expected}, b"body")

    assert answer.status == 200


@pytest.mark.parametrize("expected", ["anything", "100-continue, more", "200-ok", ""])
async def test_any_other_expectation_is_refused_with_417(gateway: RunningGateway, expected: str) -> None:
    answer = await gateway.request("POST", "/open", {"Expect": expected}, b"body")

    assert (answer.status, answer.code) == (417, "expectation_failed")


async def test_expectations_in_http_1_0_are_ignored(gateway: RunningGateway) -> None:
    answer = await gateway.raw("GET /open HTTP/1.0\r\nExpect: anything\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 ")
