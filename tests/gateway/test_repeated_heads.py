"""Heads that are not parsed again: every byte, line and count is the same as without the memory.

The seeded comparison sends one stream of requests to two gateways, one of which remembers heads. Whatever
happens between two equal requests - a reload, a revocation, a removed key, the drain - happens to both.
"""

import asyncio
import random
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.config.api_keys_file import new_key, parse
from gateway.config.routes_file import load
from gateway.forwarding import admission
from gateway.forwarding.client_protocol import GatewayProtocol
from gateway.forwarding.repeated_heads import RememberingProtocol
from gateway.http.known_head import may_be_known, tail_of
from gateway.policies.api_keys import NO_KEYS
from gateway.policies.browser_sessions import cookie_of
from gateway.policies.credential_exchange import CredentialExchange
from gateway.request import RequestState
from gateway.routing.table import RouteTable
from gateway.settings import Settings
from gateway.telemetry import metrics
from shared.identity.revocations import Revocation
from shared.testing import token
from tests.gateway.in_process import InMemory

STEPS = 2000
HITS_MIN = 250
USUAL = 8  # so many blocks of headers are sent most of the time
COOKIE = b"0123456789abcdef"
ROUTES = """
routes:
  - path: /open
    backends: ["http://127.0.0.1:21901", "http://127.0.0.1:21904"]
    balance: round_robin
    auth: none
    rate_limit: {rate: 1000000/s}
  - {path: /orders, backend: "http://127.0.0.1:21901", methods: [GET, POST], rate_limit: {rate: 1000000/s}}
  - {path: /orders, backend: "http://127.0.0.1:21902", methods: [PUT], rate_limit: {rate: 1000000/s}}
  - path: /keys
    backend: "http://127.0.0.1:21901"
    api_keys: true
    rate_limit: {rate: 1000000/s}
    concurrency: {max: 3, key: user}
  - path: /changed
    backend: "http://127.0.0.1:21902"
    rate_limit: {rate: 1000000/s}
    headers: {request: {set: {x-tenant: a}, remove: [accept]}, response: {set: {x-frame-options: DENY}}}
aliases:
  - {path: /api/v1/orders, to: /orders, envelope: v1}
"""


class Side:
    """One of the two gateways, with one client at a time."""

    def __init__(self, running: InMemory) -> None:
        self.running = running
        self.lines: list[dict[str, Any]] = []
        self.renew()

    def renew(self) -> None:
        self.client, self.wire = self.running.client()

    @property
    def is_gone(self) -> bool:
        return self.wire.closed or self.wire.ended

    def hang_up(self) -> None:
        self.wire.closed = True
        self.client.connection_lost(None)

    def state(self) -> tuple[object, ...]:
        gateway = self.running.gateway
        backends = gateway.routing.backends.values()
        return (
            self.is_gone,
            self.wire.paused,
            len(gateway.idle),
            len(gateway.open),
            [(len(backend._idle), len(backend.open), backend.load) for backend in backends],
            {name: dict(slots.taken) for name, slots in gateway.routing.slots.items()},
            self.running.state.total_requests,
        )


class Lines:
    """The access log, by the side whose turn it is."""

    def __init__(self) -> None:
        self.side: Side | None = None

    def add(self, **fields: object) -> None:
        assert self.side is not None
        new = ("ms", "upstream_ms", "request_id")
        self.side.lines.append({name: value for name, value in fields.items() if name not in new})


_NEW = re.compile(
    rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"  # request ids
    rb"|00-(?!a{32})[0-9a-f]{32}-[0-9a-f]{16}-01"  # traces, except those of the client
    rb'|r=\d+;t=\d+|"timestamp":"[^"]*"'
)


def _comparable(data: bytes) -> bytes:
    """Replace what differs between any two requests; the order of headers for a target means nothing."""
    head, end, body = _NEW.sub(b"-", data).partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    return b"\r\n".join([first, *sorted(lines)]) + end + body


class Requests:
    """A stream of requests: mostly the same again, sometimes others, sometimes broken ones."""

    def __init__(self, chance: random.Random, tokens: list[str], keys: list[str]) -> None:
        self._chance = chance
        auth = [b"Authorization: Bearer %b\r\n" % each.encode() for each in tokens]
        first = b"Host: a\r\n" + auth[0]
        key = b"X-API-Key: %b\r\n" % keys[0].encode()
        trace = b"traceparent: 00-%b-%b-01\r\n" % (b"a" * 32, b"b" * 16)
        blocks = [
            first,
            b"Host: a\r\n" + auth[1],
            first + b"Accept: */*\r\nX-Foo: 1\r\nCookie: a=b\r\nConnection: Keep-Alive\r\n",
            b"Host: a\r\n",
            b"host: a:80\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\n" + auth[1] + trace,
            first + b"Origin: https://x.y\r\nX_User_Id: 3\r\nX-User-Id: 4\r\n",
            b"Host: a\r\nAccept: */*\r\n" + key,
            b"Host: a\r\nCookie: x=y; __Host-session=%b\r\nSec-Fetch-Site: same-origin\r\n" % COOKIE,
            b"Host: a\r\n" + key + auth[0],
            b"Host: a\r\nX-API-Key: gatehouse_no\r\n",
            first + b"X-Request-ID: abcdefgh\r\n",
            first + b"Content-Length: 0\r\n",
            first + b"X-Long: a\r\n b\r\n",
            first + b"Connection: close\r\n",
            first + b"Connection: keep-alive, X-Foo\r\nX-Foo: 2\r\n",
            first + b"Proxy-Connection: close\r\n",
            first + b"Expect: 100-continue\r\n",
            first + b"TE: trailers\r\nTrailer: x\r\nX-Space:  a \t\r\nX-Empty:\r\n",
            first + b"Host: b\r\n",
            b"Host: a b\r\n" + auth[0],
            b"Host: a\r\nAuthorization: Basic eA==\r\n",
            b"Host: a\r\nAuthorization: Bearer a.b.c\r\n",
            first + b"Upgrade: websocket\r\nConnection: upgrade\r\n",
        ]
        self._blocks = [block + b"\r\n" for block in blocks]
        self._block = self._blocks[0]

    def _line(self) -> bytes:
        if self._chance.random() < 0.85:
            path = self._chance.choice([b"/orders/me", b"/open/a?b=%20", b"/changed/x", b"/keys/1"])
            return b"GET %b HTTP/1.1\r\n" % path
        return self._chance.choice(
            [
                b"HEAD /orders/me HTTP/1.1\r\n",
                b"GET /api/v1/orders/1 HTTP/1.1\r\n",
                b"GET /orders/../x HTTP/1.1\r\n",
                b"GET /orders/%6de HTTP/1.1\r\n",
                b"GET /orders/a;b//c?d=%2F HTTP/1.1\r\n",
                b"GET //orders/me HTTP/1.1\r\n",
                b"GET /orders/me?a b HTTP/1.1\r\n",
                b"GET http://a/orders/me HTTP/1.1\r\n",
                b"GET /orders/me HTTP/1.0\r\n",
                b"POST /orders/me HTTP/1.1\r\n",
                b"DELETE /orders/me HTTP/1.1\r\n",
                b"OPTIONS /orders/me HTTP/1.1\r\n",
                b"GET /orders/me#f HTTP/1.1\r\n",
                b"GET /orders/\x80 HTTP/1.1\r\n",
                b'GET /orders/a"b\\c HTTP/1.1\r\n',
                b"GET /orders/me  HTTP/1.1\r\n",
                b"\r\nGET /orders/me HTTP/1.1\r\n",
                b"GET /nowhere HTTP/1.1\r\n",
                b"GET /health HTTP/1.1\r\n",
                b"GET /orders/me HTTP/1.1\n",
            ]
        )

    def another(self) -> None:
        usual = self._chance.random() < 0.8
        self._block = self._chance.choice(self._blocks[:USUAL] if usual else self._blocks)

    def next(self) -> list[bytes]:
        """Return what the client sends next, in as many pieces as it arrives in."""
        draw = self._chance.random
        if draw() < 0.06:
            self.another()
        message = self._line() + self._block
        if draw() < 0.03:
            message = b"POST /orders/me HTTP/1.1\r\nContent-Length: 3\r\n" + self._block + b"abc"
        if draw() < 0.04:
            message = self._broken(message)
        if draw() < 0.03:
            message += self._line() + self._block
        if draw() < 0.03:
            message += self._chance.choice([b"\r", b"\r\n", b"\n", b"G"])
        if draw() < 0.05:
            cut = self._chance.randrange(1, len(message))
            return [message[:cut], message[cut:]]
        return [message]

    def _broken(self, message: bytes) -> bytes:
        place = self._chance.randrange(len(message))
        other = self._chance.choice(b' \t\r\n\0:?#%/.;\\"{}|^~\x7f\x80\xffAZaz09')
        return self._chance.choice(
            [
                message[:place] + bytes([other]) + message[place + 1 :],
                message[:place] + bytes([other]) + message[place:],
                message[:place] + message[place + 1 :],
            ]
        )


ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nLocation: /orders/1\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno",
    b"HTTP/1.1 204 No Content\r\n\r\n",
]


async def _settle() -> None:
    for _ in range(6):
        await asyncio.sleep(0)


async def _exchange(side: Side, pieces: list[bytes], answer: bytes) -> tuple[bytes, list[bytes]]:
    """Send the pieces, respond to what reaches the targets; return the response and what the targets got."""
    asked: list[bytes] = []
    for piece in pieces:
        if not side.is_gone:
            side.client.data_received(piece)
        await _settle()
    while arrived := side.running.asked():
        for connection, data in arrived:
            asked.append(_comparable(data))
            connection.data_received(answer)
        await _settle()
    side.running.bury()
    return _comparable(side.wire.taken()), asked


class Comparison:
    def __init__(
        self, sides: tuple[Side, Side], lines: Lines, requests: Requests, chance: random.Random
    ) -> None:
        self.sides = sides
        self._lines = lines
        self._chance = chance
        self._requests = requests

    def both(self, action: Callable[[Side], object]) -> None:
        for side in self.sides:
            self._lines.side = side
            action(side)

    async def step(self, pieces: list[bytes]) -> None:
        answer = self._chance.choice([ANSWERS[0], ANSWERS[0], ANSWERS[0], *ANSWERS])
        found = []
        for side in self.sides:
            self._lines.side = side
            side.lines.clear()
            found.append((*await _exchange(side, pieces, answer), [*side.lines], side.state()))
        assert found[0] == found[1], (pieces, answer)
        if self.sides[0].is_gone:
            self.renew()
            self._requests.another()

    def renew(self) -> None:
        self.both(Side.hang_up)
        self.both(Side.renew)


@pytest.fixture
def hits(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What the memory answered, each time it was asked."""
    found: list[bool] = []
    real = RememberingProtocol._is_again

    def counting(*arguments: Any) -> bool:
        found.append(real(*arguments))
        return found[-1]

    monkeypatch.setattr(RememberingProtocol, "_is_again", counting)
    return found


@pytest.mark.parametrize("proxies", [(), "127.0.0.1"], ids=["direct", "behind a proxy"])
async def test_remembered_heads_change_nothing_but_time(
    proxies: Any,
    make_settings: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hits: list[bool],
) -> None:
    chance = random.Random(16)
    lines = Lines()
    monkeypatch.setattr(metrics, "access_log", lines)
    tokens = [token(f"user-{number}", sid=f"session-{number}") for number in range(2)]
    behind_cookie = [tokens[0]]
    monkeypatch.setattr(
        CredentialExchange,
        "remembered",
        lambda _, credential: behind_cookie[0] if credential == COOKIE else None,
    )
    file = tmp_path / "routes.yaml"
    file.write_text(ROUTES)
    table = load(file, development=True)
    file.write_text(ROUTES.replace("21902", "21903").replace("/keys", "/other"))
    tables = [table, load(file, development=True)]
    key, entry = new_key("billing", "client", ("orders:read",), None)
    keys = parse("keys:\n" + entry, "keys")
    settings = make_settings(Settings, admin_port=0, trusted_proxies=proxies, auth_failures_per_second=0)
    made = [
        InMemory(settings, table, keys, protocol=protocol)
        for protocol in (GatewayProtocol, RememberingProtocol)
    ]
    requests = Requests(chance, tokens, [key])
    comparison = Comparison((Side(made[0]), Side(made[1])), lines, requests, chance)
    for _ in range(STEPS):
        draw = chance.random()
        if draw < 0.004:
            comparison.both(partial(_reload, table=chance.choice(tables)))
        elif draw < 0.008:
            comparison.both(lambda side: side.running.gateway.take_keys(keys))
        elif draw < 0.05 and (made[0].state.draining or draw < 0.01):
            comparison.both(partial(_set_draining, on=not made[0].state.draining))
        elif draw < 0.06:
            comparison.renew()
        elif draw < 0.065:
            revocation = _revocation(chance.choice(["session-0", "session-1"]))
            comparison.both(partial(_revoke, revocation=revocation))
        elif draw < 0.095:
            comparison.both(lambda side: side.running.gateway.verifier.revocations.forget())
        elif draw < 0.098:
            comparison.both(lambda side: side.running.gateway.take_keys(NO_KEYS))
        elif draw < 0.12:
            behind_cookie[0] = chance.choice(tokens)
        await comparison.step(requests.next())

    assert sum(hits) >= HITS_MIN, f"{sum(hits)} hits of {len(hits)} tries"


async def test_session_cookie_is_read_once_and_exchanged_for_every_request(
    make_settings: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hits: list[bool]
) -> None:
    file = tmp_path / "routes.yaml"
    file.write_text(ROUTES)
    side = Side(InMemory(make_settings(Settings, admin_port=0), load(file, development=True)))
    request = b"GET /orders HTTP/1.1\r\nHost: a\r\nCookie: theme=dark; session=%b\r\n\r\n" % COOKIE
    read: list[bytes | None] = []

    def noted(state: RequestState) -> bytes | None:
        read.append(cookie_of(state))
        return read[-1]

    monkeypatch.setattr(admission, "cookie_of", noted)
    for session in ("session-0", "session-0", "session-0", "session-1", "session-1"):
        held = token("user-0", sid=session)
        await side.running.gateway.verifier.verify(held)
        side.running.gateway.exchange.keep(COOKIE, held, time.monotonic() + 3600)
        answer, (asked,) = await _exchange(side, [request], ANSWERS[0])

        assert answer.startswith(b"HTTP/1.1 200")
        assert b"authorization: Bearer " + held.encode() in asked
        assert b"cookie: theme=dark\r\n" in asked
    assert hits == [True] * 3
    assert len(read) == 4  # twice for each of the two requests from which the head was learnt


def _set_draining(side: Side, *, on: bool) -> None:
    side.running.state.draining = on


def _revoke(side: Side, revocation: Revocation) -> None:
    side.running.gateway.verifier.revocations.add([revocation])


def _reload(side: Side, table: RouteTable) -> None:
    side.running.gateway.take(table)
    side.running.adopt()


def _revocation(session: str) -> Revocation:
    return Revocation(
        number=1, kind="session", subject=session, expires=datetime.now(UTC) + timedelta(hours=1)
    )


def test_only_single_heads_of_http_11_are_remembered() -> None:
    tail = b" HTTP/1.1\r\nHost: a\r\n\r\n"

    assert tail_of(b"GET /x" + tail) == tail
    assert tail_of(b"GET /x" + tail + b"\r\n") == b""
    assert tail_of(b"GET /x" + tail + b"GET /x" + tail) == b""
    assert tail_of(b"GET /x HTTP/1.0\r\nHost: a\r\n\r\n") == b""
    assert tail_of(b"GET /" + b"x" * 8192 + tail) == b""


def test_folded_and_skipped_lines_are_not_remembered() -> None:
    line, host = b"GET /x", [(b"host", b"a")]

    assert may_be_known(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n", line, host)
    assert not may_be_known(b"GET /x HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", line, host)
    assert not may_be_known(b"\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", line, host)
    assert not may_be_known(b"POST /x HTTP/1.1\r\nHost: a\r\n\r\n", b"POST /x", host)
    assert not may_be_known(b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", b"GET http://b/", host)
