"""Small real backends: one echoes requests, others are scripted byte by byte."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

Handler = Callable[["Conversation"], Awaitable[None]]


@dataclass
class Received:
    """One request as received."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def value(self, name: str) -> str | None:
        return next(iter(self.values(name)), None)


@dataclass
class Conversation:
    """One connection from the gateway."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    backend: "Backend"
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def head(self) -> Received | None:
        """Return the next request without its body; None if the gateway has closed the connection."""
        try:
            block = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        first, *lines = block[:-4].decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        received = Received(method, target, headers)
        self.backend.received.append(received)
        return received

    async def request(self) -> Received | None:
        received = await self.head()
        if received is not None:
            received.body = b"".join([piece async for piece in self.pieces(received)])
        return received

    async def pieces(self, received: Received) -> Any:
        if received.value("transfer-encoding") == "chunked":
            while size := int(await self.reader.readline(), 16):
                yield (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readline()
        else:
            left = int(received.value("content-length") or 0)
            while left:
                piece = await self.reader.read(min(left, 1 << 16))
                if not piece:
                    return
                left -= len(piece)
                yield piece

    async def send(self, *parts: bytes | str) -> None:
        for part in parts:
            self.writer.write(part.encode("latin-1") if isinstance(part, str) else part)
        await self.writer.drain()

    async def answer(self, body: bytes = b"", status: str = "200 OK", *headers: str) -> None:
        lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
        await self.send("\r\n".join(lines), body)

    async def answer_json(self, document: object, status: str = "200 OK", *headers: str) -> None:
        await self.answer(json.dumps(document).encode(), status, "Content-Type: application/json", *headers)


class Backend:
    """A TCP server that runs `handler` once per connection; on a free port by default."""

    def __init__(self, handler: Handler, port: int = 0) -> None:
        self._handler = handler
        self.port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self.received: list[Received] = []
        self.connections = 0
        self.lost = asyncio.Event()  # set when the gateway has closed a connection

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self._handler(Conversation(reader, writer, self))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.lost.set()
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()
            self._tasks.discard(task)


async def echo(conversation: Conversation) -> None:
    """Echo every request back as JSON."""
    while (received := await conversation.request()) is not None:
        await conversation.answer_json(
            {
                "method": received.method,
                "target": received.target,
                "headers": received.headers,
                "body": received.body.decode("latin-1"),
            }
        )
