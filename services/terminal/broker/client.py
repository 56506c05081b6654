"""The service's side of the broker: a backend whose work another process does."""

import asyncio
import itertools
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import structlog

from services.terminal.backends.base import BoxEvent, EventKind, Isolation, Place, Start, ignore_event
from services.terminal.broker.child import Child
from services.terminal.broker.wire import LINE_BYTES_MAX, SOCKET_NAME, Message, read, write
from services.terminal.errors import EngineUnavailable, ShellNotStarted
from services.terminal.links import connected
from services.terminal.settings import Settings
from shared.errors import Problem
from shared.process.tasks import end

CONNECT_SECONDS, RETRY_SECONDS, RETRY_SECONDS_MAX = 20.0, 0.05, 2.0
STEADY_SECONDS = 10.0  # after a connection that lasted this long, the first retry is quick again
CALL_SECONDS = 60.0
ERRORS: dict[str, type[Problem]] = {one.code: one for one in (EngineUnavailable, ShellNotStarted)}

log = structlog.get_logger(__name__)


class BrokerBackend:
    """Boxes behind the broker. This process has no handle on the engine."""

    name = "docker"
    isolation: Isolation = "container"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.on_event: Callable[[BoxEvent], None] = ignore_event
        self._places: dict[str, Place] = {}  # boxes that should be running
        self.running: set[str] = set()
        self._child = Child() if settings.box_broker == "child" else None
        self._writer: asyncio.StreamWriter | None = None
        self._connected = asyncio.Event()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count()
        self._keeping: asyncio.Task[None] | None = None
        self.sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def adopt(self, places: Sequence[Place]) -> None:
        """Start the broker and find what is running. If it cannot be reached, boxes may still be running."""
        self._places = {place.box_id: place for place in places}
        self.running = {*self._places}
        self._keeping = asyncio.create_task(self._keep_connected())
        with suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._connected.wait()

    async def _keep_connected(self) -> None:
        """Start the broker if it is ours, connect to it, and do so again whenever it ends."""
        clock, pause = asyncio.get_running_loop().time, RETRY_SECONDS
        while True:
            began = clock()
            try:
                if self._child is not None:
                    await self._child.ensure()
                connection = connected(self._settings.root, SOCKET_NAME)
            except OSError:  # it is starting
                await asyncio.sleep(RETRY_SECONDS)
                continue
            await self._serve_connection(connection)
            is_steady = clock() - began > STEADY_SECONDS
            pause = RETRY_SECONDS if is_steady else min(pause * 2, RETRY_SECONDS_MAX)
            await self.sleep(pause)  # a broker that refuses us closes every connection at once

    async def _serve_connection(self, connection: socket.socket) -> None:
        """Use a connection to the broker until it ends."""
        try:
            reader, self._writer = await asyncio.open_unix_connection(sock=connection, limit=LINE_BYTES_MAX)
        except OSError as error:
            log.warning("broker_lost", error=repr(error)[:200])
            connection.close()
            return
        adopting = asyncio.create_task(self._adopt_all())
        try:
            await self._receive(reader)
        except (OSError, ValueError) as error:
            log.warning("broker_lost", error=repr(error)[:200])
        finally:
            await end([adopting])
            self._disconnected()

    async def _adopt_all(self) -> None:
        """Compare what is running with what should be; the rest has ended meanwhile."""
        expected = {*self._places}
        boxes = [_box(place) for place in self._places.values()]
        try:
            running = {*await self._send("adopt", boxes=boxes)}
        except Problem as problem:
            log.warning("boxes_not_adopted", error=problem.code)
        else:
            for box_id in sorted(expected - running):
                self._ended(BoxEvent(box_id, EventKind.DIED))
        self._connected.set()

    async def _receive(self, reader: asyncio.StreamReader) -> None:
        while (message := await read(reader)) is not None:
            if "event" in message:
                self._ended(BoxEvent(message["event"]["box_id"], EventKind(message["event"]["kind"])))
                continue
            waiting = self._waiting.pop(message["id"], None)
            if waiting is None or waiting.done():
                continue
            if "error" in message:
                waiting.set_exception(ERRORS.get(message["error"], EngineUnavailable)())
            else:
                waiting.set_result(message["result"])

    def _ended(self, event: BoxEvent) -> None:
        if event.kind == EventKind.DIED:
            self.running.discard(event.box_id)
            self._places.pop(event.box_id, None)
        self.on_event(event)

    def _disconnected(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
        self._writer = None
        self._connected.clear()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(EngineUnavailable())
        self._waiting.clear()

    async def _call(self, method: str, patience: float = CALL_SECONDS, **fields: Any) -> Any:
        try:
            async with asyncio.timeout(patience):
                await self._connected.wait()
                return await self._send(method, **fields)
        except TimeoutError as error:
            raise EngineUnavailable from error

    async def _send(self, method: str, **fields: Any) -> Any:
        if self._writer is None:
            raise EngineUnavailable
        number = next(self._numbers)
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        message: Message = {"id": number, "method": method, **fields}
        write(self._writer, message)
        try:
            return await waiting
        finally:
            self._waiting.pop(number, None)

    async def ensure(self, place: Place) -> None:
        await self._call("ensure", box=_box(place))
        self._places[place.box_id] = place
        self.running.add(place.box_id)

    async def begin(self, place: Place, start: Start) -> None:
        await self._call("begin", box=_box(place), start=asdict(start))

    async def relay(self, place: Place) -> None:
        await self._call("relay", box=_box(place))

    def is_alive(self, place: Place, terminal_id: str) -> bool:  # noqa: ARG002 - only the box's state is known
        return place.box_id in self.running

    async def stop(self, place: Place) -> None:
        self._places.pop(place.box_id, None)  # its end is expected
        self.running.discard(place.box_id)
        await self._call("stop", box=_box(place))

    async def run(self, place: Place, command: Sequence[str], seconds: float) -> tuple[int, str]:
        more = {"box": _box(place), "command": [*command], "seconds": seconds}
        code, output = await self._call("run", seconds + CALL_SECONDS, **more)
        return int(code), str(output)

    async def cpu_seconds(self, place: Place) -> float | None:
        used = await self._call("cpu_seconds", box=_box(place))
        return None if used is None else float(used)

    async def unlinked_bytes(self, place: Place) -> int:
        return int(await self._call("unlinked_bytes", box=_box(place)))

    async def describe(self) -> dict[str, str]:
        described: dict[str, str] = await self._call("describe")
        return described

    async def close(self) -> None:
        """End the connection, and with it a broker of our own; boxes keep running."""
        if self._keeping is not None:
            await end([self._keeping])
        self._disconnected()
        if self._child is not None:
            await self._child.close()


def _box(place: Place) -> dict[str, str]:
    return {"id": place.box_id, "owner": place.owner}
