"""A mixed load: valid and invalid requests, slow clients and clients that disconnect."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

from shared.testing import token
from tests.bench.gateway.pace import is_whole
from tests.bench.gateway.proxies import DOWNLOAD, LIMITED, PATH, SLOWLY, SOCKET, UPLOAD
from tests.bench.gateway.sockets import ECHO, FRAME, UPGRADE
from tests.bench.gateway.speed import TOKEN_SECONDS, bearer

STEADY = 32
RUDE = 12
ANSWER_SECONDS = 30.0
PAUSE_SECONDS = 0.05
BODY = b"x" * 2048


@dataclass(frozen=True)
class Kind:
    """One kind of request and its expected status codes."""

    name: str
    weight: int
    expected: frozenset[int]
    make: Callable[[], bytes]


@dataclass
class Load:
    """Runs steady and rude clients; counts responses and unexpected results."""

    port: int
    answered: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    _end: float = float("inf")

    async def fill(self, tokens: int) -> None:
        """Send `tokens` new tokens, to fill the gateway's token cache before the measurement."""
        left = iter(range(tokens))
        kind = next(kind for kind in KINDS if kind.name == "new token")
        await asyncio.gather(*(self._ask_each(kind for _ in left) for _ in range(STEADY)))

    async def run(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        steady = (self._ask_each(self._kinds()) for _ in range(STEADY))
        rude = (self._be_rude(way) for way in (WAYS * RUDE)[:RUDE])
        async with asyncio.timeout(seconds + ANSWER_SECONDS):
            await asyncio.gather(*steady, *rude)

    def _kinds(self) -> Iterator[Kind]:
        weights = [kind.weight for kind in KINDS]
        while time.monotonic() < self._end:
            yield from random.choices(KINDS, weights, k=20)

    async def _ask_each(self, kinds: Iterable[Kind]) -> None:
        client = await Client.opened(self.port)
        try:
            for kind in kinds:
                status = await client.ask(kind.make())
                self.answered[kind.name] += 1
                if status not in kind.expected:
                    self.faults[f"{kind.name} got a {status}"] += 1
        except OSError as error:
            self.faults[f"a connection was lost: {error!r}"] += 1
        finally:
            client.close()

    async def _be_rude(self, way: "Way") -> None:
        while time.monotonic() < self._end:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await way(reader, writer)
                self.answered[way.__name__] += 1
            except (AssertionError, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                self.faults[f"{way.__name__}: {error!r}"] += 1
            finally:
                writer.transport.abort()
                with suppress(OSError):
                    await writer.wait_closed()


class Client(asyncio.Protocol):
    """A keep-alive connection with one request at a time."""

    def __init__(self) -> None:
        self._data = b""
        self._answer: asyncio.Future[int] | None = None

    @classmethod
    async def opened(cls, port: int) -> "Client":
        _, client = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return client

    async def ask(self, request: bytes) -> int:
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._answer is not None and not self._answer.done() and is_whole(self._data):
            self._answer.set_result(int(self._data[9:12]))
            self._data = b""

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("closed without a response"))


Way = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def sends_its_head_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = _head("GET", PATH)
    for begin in range(0, len(head), 100):
        writer.write(head[begin : begin + 100])
        await asyncio.sleep(PAUSE_SECONDS)
    assert (await reader.readline()).split()[1] == b"200"


async def sends_its_body_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(_head("POST", UPLOAD, "Transfer-Encoding: chunked"))
    for _ in range(5):
        writer.write(b"5\r\nhello\r\n")
        await asyncio.sleep(PAUSE_SECONDS)
    # The upload backend does not read chunks; the client disconnects mid-request on purpose.


async def reads_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(_head("GET", DOWNLOAD))
    for _ in range(5):
        assert await reader.read(4096)
        await asyncio.sleep(PAUSE_SECONDS)


async def leaves_before_the_answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(PAUSE_SECONDS)
    writer.write(_head("GET", PATH))


async def leaves_in_its_head(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(_head("GET", PATH)[:150])
    await asyncio.sleep(PAUSE_SECONDS)


async def leaves_in_the_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(_head("GET", SLOWLY))
    assert (await reader.readline()).split()[1] == b"200"
    await asyncio.sleep(PAUSE_SECONDS)


async def sends_garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(random.randbytes(200))
    assert (await reader.read()).split()[1] == b"400"
    await asyncio.sleep(PAUSE_SECONDS)


async def opens_a_socket(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(_head("GET", SOCKET, *UPGRADE))
    assert (await reader.readuntil(b"\r\n\r\n")).split()[1] == b"101"
    for _ in range(5):
        writer.write(FRAME)
        assert await reader.readexactly(len(ECHO)) == ECHO
        await asyncio.sleep(PAUSE_SECONDS)


WAYS: list[Way] = [
    sends_its_head_slowly,
    sends_its_body_slowly,
    reads_slowly,
    leaves_before_the_answer,
    leaves_in_its_head,
    leaves_in_the_answer,
    sends_garbage,
    opens_a_socket,
]


def _head(method: str, path: str, *more: str, authorization: str | None = None) -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: gateway",
        f"Authorization: {authorization or _BEARER}",
        *more,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def _new_token() -> bytes:
    return _head("GET", PATH, authorization=f"Bearer {token(exp=int(time.time()) + TOKEN_SECONDS)}")


def _word() -> str:
    return f"{random.getrandbits(48):x}"


_BEARER = f"Bearer {bearer()}"
_ANONYMOUS = f"GET {PATH} HTTP/1.1\r\nHost: gateway\r\n\r\n".encode()
_GOOD = _head("GET", PATH)
_LIMITED = _head("GET", LIMITED)
_OTHER_METHOD = _head("DELETE", "/.well-known/jwks.json")
_UPLOAD = _head("POST", UPLOAD, f"Content-Length: {len(BODY)}") + BODY
OK = frozenset((200,))

KINDS = [
    Kind("good", 65, OK, lambda: _GOOD),
    Kind("new token", 5, OK, _new_token),
    Kind("any path", 5, OK, lambda: _head("GET", f"/orders/{_word()}/{_word()}?{_word()}={_word()}")),
    Kind("any header", 3, OK, lambda: _head("GET", PATH, f"X-{_word()}: {_word()}")),
    Kind("upload", 5, frozenset((204,)), lambda: _UPLOAD),
    Kind("no token", 3, frozenset((401,)), lambda: _ANONYMOUS),
    Kind(
        "forged token",
        3,
        frozenset((401,)),
        lambda: _head("GET", PATH, authorization=f"Bearer a.b.{_word()}"),
    ),
    Kind("no such path", 4, frozenset((404,)), lambda: _head("GET", f"/{_word()}")),
    Kind("other method", 3, frozenset((405,)), lambda: _OTHER_METHOD),
    Kind("limited", 4, frozenset((200, 429)), lambda: _LIMITED),
]
