"""Connections to ports inside the boxes, made by a relay in each box (`holder/relay.py`)."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Self

import structlog

from services.terminal.backends.base import Backend, Place
from services.terminal.errors import NothingListens, PortUnreachable, TooManyStreams
from services.terminal.holder import PORTS_SOCKET
from services.terminal.holder.relay import CONNECTED, CONTROL, ORDER, STREAM
from services.terminal.links import bound
from shared.errors import Problem
from shared.process.tasks import end

OPEN_SECONDS = 20.0
HELLO_SECONDS = 5.0
STREAMS_MAX = 48  # per box; below the relay's own limit
GREETINGS_MAX = 64
TOKEN_BYTES = 16

log = structlog.get_logger(__name__)


class Tunnels:
    """The tunnels into all boxes. Whatever connects to a box's socket can only affect that box."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._boxes: dict[str, BoxTunnels] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for box_id in [*self._boxes]:
            await self.ignore(box_id)

    @asynccontextmanager
    async def opened(
        self, place: Place, port: int, *, is_probe: bool = False
    ) -> AsyncIterator[socket.socket]:
        """Provide a connection to a port of a running box; closing the box or the port ends it.

        A probe does not count as use of the box, so that the box can become idle.
        """
        box = self._boxes.get(place.box_id)
        if box is None:
            box = self._boxes[place.box_id] = BoxTunnels(place, self._backend)
        if box.streams_number >= STREAMS_MAX:
            raise TooManyStreams
        stream = await box.open(port)
        box.streams[stream] = port
        try:
            yield stream
        finally:
            box.streams.pop(stream, None)
            if not is_probe:
                box.last_used = asyncio.get_running_loop().time()
            stream.close()

    async def is_listening(self, place: Place, port: int, seconds: float) -> bool:
        """Whether a program in a running box accepts connections at this port."""
        with suppress(Problem, TimeoutError):
            async with asyncio.timeout(seconds), self.opened(place, port, is_probe=True):
                return True
        return False

    def last_used(self, box_id: str) -> float | None:
        """Return when a connection into the box was last open, in event-loop time; None if never."""
        box = self._boxes.get(box_id)
        if box is None:
            return None
        return asyncio.get_running_loop().time() if box.streams else box.last_used

    def close_port(self, owner: str, port: int) -> None:
        """End the connections to a port whose lease has ended."""
        for box in self._boxes.values():
            if box.place.owner == owner:
                for stream in [one for one, of in box.streams.items() if of == port]:
                    shut(stream)

    async def ignore(self, box_id: str) -> None:
        """End all connections into a box, and its relay."""
        box = self._boxes.pop(box_id, None)
        if box is not None:
            await box.close()


class BoxTunnels:
    """The relay of one box, and the connections that it made."""

    def __init__(self, place: Place, backend: Backend) -> None:
        self.place, self._backend = place, backend
        self.streams: dict[socket.socket, int] = {}
        self.last_used: float | None = None
        self._listening: socket.socket | None = None
        self._relay: socket.socket | None = None
        self._is_linked = asyncio.Event()
        self._starting, self._ordering = asyncio.Lock(), asyncio.Lock()
        self._awaited: dict[bytes, asyncio.Future[socket.socket]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def streams_number(self) -> int:
        """How many connections are open or being made."""
        return len(self.streams) + len(self._awaited)

    async def open(self, port: int) -> socket.socket:
        token = os.urandom(TOKEN_BYTES)
        answer: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()
        self._awaited[token] = answer
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                await self._order(port, token)
                return await answer
        except (TimeoutError, OSError) as error:
            log.warning("port_unreachable", box_id=self.place.box_id, error=repr(error))
            raise PortUnreachable from error
        finally:
            self._awaited.pop(token, None)
            answer.cancel()  # does nothing once the connection was handed over

    async def _order(self, port: int, token: bytes) -> None:
        async with self._starting:
            if self._listening is None:
                self._listening = bound(self.place.run, PORTS_SOCKET, GREETINGS_MAX)
                self._spawn(self._accept(self._listening))
            if not self._is_linked.is_set():
                await self._backend.relay(self.place)
                await self._is_linked.wait()
        async with self._ordering:  # two tasks cannot write to one socket at the same time
            if self._relay is None:
                raise ConnectionResetError("the relay of the box has ended")
            await asyncio.get_running_loop().sock_sendall(self._relay, ORDER.pack(port, token))

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(listening)
            if len(self._tasks) > GREETINGS_MAX:
                connection.close()
            else:
                connection.setblocking(False)
                self._spawn(self._greet(connection))

    async def _greet(self, connection: socket.socket) -> None:
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                kind = await _exactly(connection, 1)
                if kind == STREAM:
                    self._hand_over(connection, await _exactly(connection, TOKEN_BYTES + 1))
                    return
        except (TimeoutError, OSError):
            kind = b""
        if kind == CONTROL:
            await self._follow(connection)
        connection.close()

    def _hand_over(self, connection: socket.socket, answer: bytes) -> None:
        waiting = self._awaited.get(answer[:TOKEN_BYTES])
        if waiting is None or waiting.done():
            connection.close()
        elif answer[TOKEN_BYTES:] == CONNECTED:
            waiting.set_result(connection)
        else:
            connection.close()
            waiting.set_exception(NothingListens())

    async def _follow(self, connection: socket.socket) -> None:
        """Use this relay until it disconnects; a newer one replaces it."""
        if self._relay is not None:
            shut(self._relay)
        self._relay = connection
        self._is_linked.set()
        with suppress(OSError):
            # A relay sends nothing more, so this returns when it disconnects.
            await asyncio.get_running_loop().sock_recv(connection, 1)
        if self._relay is connection:
            self._relay = None
            self._is_linked.clear()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for stream in [*self.streams]:
            shut(stream)
        await end([*self._tasks])
        for one in (self._relay, self._listening):
            if one is not None:
                one.close()
        self._relay = self._listening = None


def shut(stream: socket.socket) -> None:
    """End a connection that a task may be using; the task sees the end of the stream."""
    with suppress(OSError):
        stream.shutdown(socket.SHUT_RDWR)


async def _exactly(connection: socket.socket, size: int) -> bytes:
    loop, data = asyncio.get_running_loop(), b""
    while len(data) < size:
        piece = await loop.sock_recv(connection, size - len(data))
        if not piece:
            raise ConnectionResetError("the connection ended early")
        data += piece
    return data
