"""Responses that are passed on past the parser: every byte, line and count is the same as with it.

The seeded comparison lets the same targets respond to two gateways, one of which parses every response.
"""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.config.routes_file import load
from gateway.forwarding.exchange import Exchange
from gateway.forwarding.transfer import Transfer
from gateway.http.headers import AnswerFields
from gateway.http.whole_answer import HEAD_BYTES_MAX, WholeAnswer, whole_answer
from gateway.runtime.gateway import Gateway
from gateway.settings import Settings
from gateway.telemetry import metrics
from gateway.upstream.connection import UpstreamConnection
from shared.testing import token
from tests.gateway.comparison import (
    PLAIN,
    REQUEST_ID,
    Answer,
    Comparison,
    Lines,
    Requests,
    Side,
    exchange,
    settle,
)
from tests.gateway.in_process import InMemory

STEPS = 2500
WHOLE_MIN = 500
OTHERS_MIN = 500
ROUTES = """
routes:
  - path: /open
    backends: ["http://127.0.0.1:21901", "http://127.0.0.1:21904"]
    balance: round_robin
    auth: none
    rate_limit: {rate: 1000000/s}
    retry: {attempts: 0}
  - path: /orders
    backend: "http://127.0.0.1:21901"
    rate_limit: {rate: 1000000/s}
    retry: {attempts: 0}
    concurrency: {max: 3, key: user}
    cors: {origins: ["https://x.y"]}
  - path: /changed
    backend: "http://127.0.0.1:21902"
    rate_limit: {rate: 1000000/s}
    retry: {attempts: 0}
    headers: {response: {set: {x-frame-options: DENY}, remove: [server]}}
  - {path: /keys, backend: "http://127.0.0.1:21902", rate_limit: {rate: 1000000/s}, security_headers: api}
aliases:
  - {path: /api/v1/orders, to: /orders, envelope: v1}
  - {path: /api/v2/orders, to: /orders}
"""

HEADERS = [
    b"Content-Type: application/json",
    b"server: uvicorn",
    b"Date: Thu, 26 Nov 2026 21:17:43 GMT",
    b'ETag: "a: b"',
    b"Set-Cookie: a=b; Path=/",
    b"Set-Cookie: c=d",
    b"x-request-id: " + REQUEST_ID,
    b"X-Request-Id: " + REQUEST_ID,
    b"x-request-id: other",
    b"Connection: keep-alive",
    b"Connection: Keep-Alive",
    b"Keep-Alive: timeout=5",
    b"Access-Control-Allow-Origin: *",
    b"RateLimit: x;r=1;t=2",
    b"Cache-Control:  no-store",
    b"Vary: Origin",
]
ODD_HEADERS = [
    b"Connection: close",
    b"Connection: keep-alive, x-foo",
    b"Connection: upgrade",
    b"Proxy-Connection: close",
    b"Upgrade: websocket",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip",
    b"Transfer_Encoding: chunked",
    b"Trailer: x-sum",
    b"Content-Length: 2",
    b"Content-Length: 02",
    b"Content-Length: +2",
    b"Content-Length: 2, 2",
    b"Content-Length : 2",
    b"Content-Length:2",
    b"Content-Length: 99999999999999999999",
    b"Content-Length: -1",
    b"Location: /orders/1",
    b"Location: http://127.0.0.1:21901/orders/1",
    b'Link: </orders?cursor=a>; rel="next"',
    b"X-Empty:",
    b"X-Empty: ",
    b"X-End: a ",
    b"X-Folded: a\r\n b",
    b"X Y: 1",
    b": 1",
    b"X-\xe4: 1",
    b"X-Latin: \xe4",
    b"X-Tab: a\tb",
    b"X-Nul: a\0b",
    b"X-Long: " + b"a" * HEAD_BYTES_MAX,
    b"no colon",
]
FIRST_LINES = [
    b"HTTP/1.1 201 Created",
    b"HTTP/1.1 404 Not Found",
    b"HTTP/1.1 503 Service Unavailable",
    b"HTTP/1.1 299 Odd: 1",
    b"HTTP/1.1 200 ",
    b"HTTP/1.1 200",
    b"HTTP/1.0 200 OK",
    b"HTTP/1.2 200 OK",
    b"http/1.1 200 OK",
    b"HTTP/1.1  200 OK",
    b"HTTP/1.1 2000 OK",
    b"HTTP/1.1 099 OK",
    b"HTTP/1.1 100 Continue",
    b"HTTP/1.1 103 Early Hints",
    b"HTTP/1.1 101 Switching Protocols",
    b"HTTP/1.1 204 No Content",
    b"HTTP/1.1 304 Not Modified",
    b"HTTP/1.1 205 Reset Content",
    b"HTTP/1.1 600 Odd",
    b"HTTP/1.1 200 \xe4",
]
BODIES = [b"", b"{}", b"{}", b"a" * 300, b"\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]
BEFORE = [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", b"\r\n", b"\r"]
AFTER = [b"\r\n", b"\r", b"\n", b"H", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]


class Answers:
    """A stream of responses: mostly plain ones, sometimes odd, broken or in pieces."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def next(self) -> Answer:
        chance, draw = self._chance, self._chance.random
        if draw() < 0.3:
            return PLAIN
        body = chance.choice(BODIES)
        lines = chance.sample(HEADERS, chance.randrange(5))
        if draw() < 0.93:
            length = len(body) + (chance.choice([-1, 1, 5]) if draw() < 0.04 else 0)
            lines.insert(chance.randrange(len(lines) + 1), b"Content-Length: %d" % max(0, length))
        if draw() < 0.25:
            lines.insert(chance.randrange(len(lines) + 1), chance.choice(ODD_HEADERS))
        first = chance.choice(FIRST_LINES) if draw() < 0.2 else b"HTTP/1.1 200 OK"
        message = b"\r\n".join([first, *lines, b"", body])
        if draw() < 0.06:
            message = self._broken(message)
        if draw() < 0.04:
            message = chance.choice(BEFORE) + message
        if draw() < 0.04:
            message += chance.choice(AFTER)
        pieces = [message]
        if draw() < 0.06:
            cut = chance.randrange(1, len(message))
            pieces = [message[:cut], message[cut:]]
        return Answer(pieces, ends=draw() < 0.05)

    def _broken(self, message: bytes) -> bytes:
        place = self._chance.randrange(len(message))
        other = self._chance.choice([b" ", b"\t", b"\r", b"\n", b"\0", b":", b"9", b"\x7f", b"\xff", b"-"])
        rest = self._chance.choice([message[place:], message[place + 1 :]])
        return message[:place] + self._chance.choice([other, b""]) + rest


class Counted:
    """How many responses one gateway passed on whole, and how many otherwise; the other takes no shortcut.

    No class here inherits from the connection to a target, which may be compiled.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.whole = self.others = 0
        self.gateway: Gateway | None = None
        takes_whole, answer_whole, answer_head = (
            cast("property", Transfer.takes_whole).fget,
            Exchange.answer_whole,
            Exchange.answer_head,
        )
        assert takes_whole is not None

        def count_whole(exchange: Exchange, answer: WholeAnswer, body: bytes) -> None:
            self.whole += 1
            answer_whole(exchange, answer, body)

        def count_other(exchange: Exchange, status: int, fields: AnswerFields) -> None:
            self.others += exchange.gateway is self.gateway
            answer_head(exchange, status, fields)

        takes = property(lambda transfer: transfer.gateway is self.gateway and takes_whole(transfer))
        patch.setattr(Transfer, "takes_whole", takes)
        patch.setattr(Exchange, "answer_whole", count_whole)
        patch.setattr(Exchange, "answer_head", count_other)


def _client_full(side: Side, _connection: UpstreamConnection) -> None:
    side.client.pause_writing()


def _target_full(_side: Side, connection: UpstreamConnection) -> None:
    connection.write_paused = True  # the response overtakes the end of the request


def _draining(side: Side, _connection: UpstreamConnection) -> None:
    side.running.state.draining = True


def _trouble(side: Side, _connection: UpstreamConnection) -> None:
    """Let the next response be one that a target in trouble was waiting for."""
    for backend in side.running.gateway.routing.backends.values():
        backend.standing.is_troubled = True


def _client_reads_on(side: Side) -> None:
    if not side.is_gone:
        side.client.resume_writing()
    side.running.state.draining = False


@pytest.fixture
async def compared(
    make_settings: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Comparison, Requests, random.Random, Counted]:
    chance = random.Random(59)
    lines = Lines()
    monkeypatch.setattr(metrics, "access_log", lines)
    file = tmp_path / "routes.yaml"
    file.write_text(ROUTES)
    table = load(file, development=True)
    settings = make_settings(Settings, admin_port=0, auth_failures_per_second=0)
    requests = Requests(chance, [token(f"user-{number}") for number in range(2)], ["gatehouse_no"])
    sides = Side(InMemory(settings, table)), Side(InMemory(settings, table))
    counted = Counted(monkeypatch)
    counted.gateway = sides[1].running.gateway
    return Comparison(sides, lines, requests), requests, chance, counted


async def test_whole_responses_change_nothing_but_time(
    compared: tuple[Comparison, Requests, random.Random, Counted],
) -> None:
    comparison, requests, chance, counted = compared
    answers = Answers(chance)
    disturbances = [_client_full, _target_full, _draining, _trouble]
    for _ in range(STEPS):
        disturbance = chance.choice(disturbances) if chance.random() < 0.1 else None
        await comparison.step(requests.next(), answers.next(), disturbance)
        comparison.both(_client_reads_on)
        await settle()
        if comparison.sides[0].client._current is not None:  # the response was cut short
            comparison.renew()
            await settle()
        comparison.both(lambda side: side.running.bury())

    assert counted.whole >= WHOLE_MIN, f"{counted.whole} passed on whole, {counted.others} others"
    assert counted.others >= OTHERS_MIN


def _answer(*lines: bytes, first: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join([first, *lines, b"", b"{}"])


def test_plain_response_is_read_without_the_parser() -> None:
    data = _answer(b"Server: a", b"Set-Cookie: b=c", b"Connection: keep-alive", b"Content-Length: 2")
    found = whole_answer(data, b"")

    assert found is not None
    assert found[0] == (200, b"server: a\r\nset-cookie: b=c\r\ncontent-length: 2\r\n", 2)
    assert data[found[1] :] == b"{}"


def test_heads_that_differ_only_in_the_request_id_are_one() -> None:
    def answer(request_id: bytes) -> bytes:
        return _answer(b"x-request-id: " + request_id, b"content-length: 2")

    first = whole_answer(answer(b"a"), b"x-request-id: a\r\n")
    second = whole_answer(answer(b"b"), b"x-request-id: b\r\n")

    assert first is not None
    assert second is not None
    assert first[0] is second[0]


@pytest.mark.parametrize("line", [line for line in ODD_HEADERS if line != b"Transfer_Encoding: chunked"])
def test_odd_headers_are_left_to_the_parser(line: bytes) -> None:
    lines = [line] if line.lower().startswith(b"content-length") else [line, b"content-length: 2"]
    if line == b"Content-Length: 2":
        lines *= 2

    assert whole_answer(_answer(*lines), b"") is None


@pytest.mark.parametrize("first", [*FIRST_LINES[5:17], *FIRST_LINES[18:]])
def test_odd_first_lines_are_left_to_the_parser(first: bytes) -> None:
    assert whole_answer(_answer(b"content-length: 2", first=first), b"") is None


@pytest.mark.parametrize(
    "part", [b"", b"HTTP/1.1 200 OK\r\n", _answer(b"content-length: 3"), _answer(b"a: b")]
)
def test_incomplete_responses_are_left_to_the_parser(part: bytes) -> None:
    assert whole_answer(part, b"") is None


async def test_response_before_the_end_of_the_request_is_left_to_the_parser(
    compared: tuple[Comparison, Requests, random.Random, Counted],
) -> None:
    comparison, _, _, counted = compared
    side = comparison.sides[1]
    auth = b"Authorization: Bearer %b\r\n" % token("user-0").encode()
    await comparison.step([b"GET /orders/1 HTTP/1.1\r\nHost: a\r\n%b\r\n" % auth], PLAIN)
    assert (counted.whole, counted.others) == (1, 0)
    head = b"POST /orders HTTP/1.1\r\nHost: a\r\n%bContent-Length: 70000\r\n\r\n" % auth
    answer, _ = await exchange(side, [head, b"a" * 66_000])

    assert answer.startswith(b"HTTP/1.1 200")
    assert (counted.whole, counted.others) == (1, 1)


async def test_fault_of_the_gateway_ends_only_the_exchange_in_which_it_occurs(
    compared: tuple[Comparison, Requests, random.Random, Counted], monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison = compared[0]
    side = comparison.sides[1]
    head = b"GET /orders/1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\n\r\n" % token("user-0").encode()

    def fail(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    await comparison.step([head], PLAIN)
    with monkeypatch.context() as patch:
        patch.setattr(Transfer, "answer_begins", fail)
        answer, _ = await exchange(side, [head])
    assert answer.startswith(b"HTTP/1.1 502")
    answer, _ = await exchange(side, [head])
    assert answer.startswith(b"HTTP/1.1 200")
