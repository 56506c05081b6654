"""Two gateways that get the same requests and responses: one takes shortcuts, the other takes none.

A stream of seeded requests is sent to both. Every byte, line and count has to be the same, whatever happens
between two requests: it happens to both.
"""

import asyncio
import random
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from gateway.upstream.connection import UpstreamConnection
from tests.gateway.in_process import InMemory

USUAL = 8  # so many blocks of headers are sent most of the time
COOKIE = b"0123456789abcdef"


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
    """Replace what differs between any two requests."""
    return _NEW.sub(b"-", data)


def _comparable_request(data: bytes) -> bytes:
    """The same for a request to a target, where the order of headers means nothing."""
    head, end, body = _comparable(data).partition(b"\r\n\r\n")
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
                b"GET /posted HTTP/1.1\r\n",
                b"GET /near/1 HTTP/1.1\r\n",
                b"GET /far HTTP/1.1\r\n",
                b"GET /admins/1 HTTP/1.1\r\n",
                b"GET /users/1/orders/2 HTTP/1.1\r\n",
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


class Answer(NamedTuple):
    """What a target sends, in as many pieces as it arrives in; REQUEST_ID stands for the request's."""

    pieces: list[bytes]
    ends: bool = False  # whether the target then closes the connection


REQUEST_ID = b"00000000-0000-0000-0000-000000000000"
PLAIN = Answer([b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"])
ANSWERS = [
    PLAIN,
    PLAIN,
    PLAIN,
    PLAIN,
    Answer(
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nLocation: /orders/1\r\n\r\n2\r\nab\r\n0\r\n\r\n"]
    ),
    Answer([b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"]),
    Answer([b"HTTP/1.1 204 No Content\r\n\r\n"]),
]
_REQUEST_ID_LINE = re.compile(rb"\r\nx-request-id: ([^\r]+)\r\n")


async def settle() -> None:
    for _ in range(6):
        await asyncio.sleep(0)


async def exchange(
    side: Side,
    pieces: list[bytes],
    answer: Answer = PLAIN,
    before_answer: Callable[[Side, UpstreamConnection], None] | None = None,
) -> tuple[bytes, list[bytes]]:
    """Send the pieces, respond to what reaches the targets; return the response and what the targets got."""
    asked: list[bytes] = []
    for piece in pieces:
        if not side.is_gone:
            side.client.data_received(piece)
        await settle()
    while arrived := side.running.asked():
        for connection, data in arrived:
            asked.append(_comparable_request(data))
            if before_answer is not None:
                before_answer(side, connection)
            await _respond(side, connection, data, answer)
        await settle()
    side.running.bury()
    return _comparable(side.wire.taken()), asked


async def _respond(side: Side, connection: UpstreamConnection, asked: bytes, answer: Answer) -> None:
    found = _REQUEST_ID_LINE.search(asked)
    request_id = found[1] if found is not None else b""
    wire = next(wire for each, wire in side.running.targets if each is connection)
    for piece in answer.pieces:
        if not wire.closed:
            connection.data_received(piece.replace(REQUEST_ID, request_id))
        await settle()
    if answer.ends:
        wire.closed = True  # reported by `bury`


class Comparison:
    def __init__(self, sides: tuple[Side, Side], lines: Lines, requests: Requests) -> None:
        self.sides = sides
        self._lines = lines
        self._requests = requests

    def both(self, action: Callable[[Side], object]) -> None:
        for side in self.sides:
            self._lines.side = side
            action(side)

    async def step(
        self,
        pieces: list[bytes],
        answer: Answer,
        before_answer: Callable[[Side, UpstreamConnection], None] | None = None,
    ) -> None:
        found = []
        for side in self.sides:
            self._lines.side = side
            side.lines.clear()
            found.append((*await exchange(side, pieces, answer, before_answer), [*side.lines], side.state()))
        assert found[0] == found[1], (pieces, answer)
        if self.sides[0].is_gone:
            self.renew()
            self._requests.another()

    def renew(self) -> None:
        self.both(Side.hang_up)
        self.both(Side.renew)
