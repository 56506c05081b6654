"""One HTTP request to the program at a port, and its response, as streams."""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus

import h11
from starlette.types import Receive, Send

from services.terminal.errors import BadPortResponse
from services.terminal.ports.headers import Header
from shared.process.tasks import end

PIECE_BYTES = 64 * 1024
HEAD_BYTES_MAX = 64 * 1024
SILENCE_SECONDS = 3600.0  # a stream of events may be silent for long; the gateway has limits of its own

Shown = Sequence[Header]


class Exchange:
    """A request over a connection of its own."""

    def __init__(self, connection: socket.socket, receive: Receive, send: Send) -> None:
        self._connection, self._receive, self._send = connection, receive, send
        self._state = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)
        self._loop = asyncio.get_running_loop()
        self.is_abandoned = False  # the client has left before the end of the response

    async def ask(self, method: str, target: bytes, headers: Sequence[Header]) -> tuple[int, Shown]:
        """Send the request's head, then its body concurrently; return the response's head."""
        try:
            request = h11.Request(method=method, target=target, headers=[*headers, (b"connection", b"close")])
            await self._write(request)
            self._sending = asyncio.create_task(self._send_body())
            return await self._head()
        except (h11.ProtocolError, OSError) as error:
            raise BadPortResponse from error

    async def _write(self, event: h11.Event) -> None:
        data = self._state.send(event)
        if data:
            await self._loop.sock_sendall(self._connection, data)

    async def _send_body(self) -> None:
        """Send the body. When the client leaves, end the connection: the other task sees that."""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.is_abandoned = True
                with suppress(OSError):  # the program has closed it already
                    self._connection.shutdown(socket.SHUT_RDWR)
                return
            if self._state.our_state is h11.SEND_BODY:
                if message.get("body"):
                    await self._write(h11.Data(data=message["body"]))
                if not message.get("more_body"):
                    await self._write(h11.EndOfMessage())

    async def _next(self) -> object:
        """Return the next event of h11."""
        while (event := self._state.next_event()) is h11.NEED_DATA:
            async with asyncio.timeout(SILENCE_SECONDS):
                self._state.receive_data(await self._loop.sock_recv(self._connection, PIECE_BYTES))
        return event

    async def _head(self) -> tuple[int, Shown]:
        while not isinstance(event := await self._next(), h11.Response):
            if (
                not isinstance(event, h11.InformationalResponse)
                or event.status_code == HTTPStatus.SWITCHING_PROTOCOLS
            ):
                raise BadPortResponse
        return event.status_code, [(bytes(name), bytes(value)) for name, value in event.headers]

    async def answer(self, status: int, headers: Shown) -> None:
        """Send the response; a connection that ends early ends the client's as well."""
        await self._send({"type": "http.response.start", "status": status, "headers": [*headers]})
        while isinstance(event := await self._next(), h11.Data):
            await self._send({"type": "http.response.body", "body": bytes(event.data), "more_body": True})
        if not isinstance(event, h11.EndOfMessage):
            raise h11.RemoteProtocolError("the response ended early")
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def close(self) -> None:
        if hasattr(self, "_sending"):
            await end([self._sending])
            if not self._sending.cancelled():
                self._sending.exception()  # retrieved, or asyncio would log it; the other task has handled it
