"""Server-sent events, with a heartbeat.

A stream ends when its source does, when the client disconnects or stops reading, when the token expires or
is revoked, and when the server drains. Clients reconnect automatically and send `Last-Event-ID`.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

import structlog
from prometheus_client import Gauge
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from shared.caller import Caller
from shared.errors import Overloaded, TooManyRequests
from shared.identity.revocations import Revocations
from shared.process.server import SERVER_STATE

HEARTBEAT_SECONDS = 15.0  # the gateway gives up on a service that is silent for 60 s
CHECK_SECONDS = 1.0  # how soon a revoked token ends its streams
SLOW_CLIENT_SECONDS = 30.0
RECONNECT_MS = 2_000
STREAMS_MAX = 500
STREAMS_PER_ACCOUNT = 8
LAST_EVENT_ID_CHARACTERS_MAX = 100
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # tells nginx not to buffer events
]

log = structlog.get_logger(__name__)

OPEN = Gauge("streams_open", "Open streams of server-sent events", multiprocess_mode="livesum")


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event; the client sends `id` as `Last-Event-ID` when it reconnects."""

    data: str
    id: str | None = None
    name: str | None = None

    def __bytes__(self) -> bytes:
        lines = [f"data: {line}" for line in self.data.splitlines() or [""]]
        if self.name is not None:
            lines.insert(0, f"event: {_one_line(self.name)}")
        if self.id is not None:
            lines.insert(0, f"id: {_one_line(self.id)}")
        return ("\n".join(lines) + "\n\n").encode()


def _one_line(value: str) -> str:
    if any(character in value for character in "\r\n\x00"):
        raise ValueError("an event's id and name must be a single line")
    return value


class Streams:
    """The open streams of one process: limited in total and per account."""

    def __init__(self, revocations: Revocations) -> None:
        self._revocations = revocations
        self._open: Counter[str] = Counter()

    def answer(self, caller: Caller, events: AsyncIterator[ServerSentEvent]) -> "Stream":
        """Return the response for a handler. Each event is read only after the previous one was sent."""
        return Stream(self, caller, events)

    def enter(self, caller: Caller) -> None:
        if self._open[caller.id] >= STREAMS_PER_ACCOUNT:
            raise TooManyRequests(
                f"Your account has {STREAMS_PER_ACCOUNT} open streams; close one of them.",
                headers={"Retry-After": "5"},
            )
        if self._open.total() >= STREAMS_MAX:
            raise Overloaded
        self._open[caller.id] += 1
        OPEN.set(self._open.total())

    def leave(self, caller: Caller) -> None:
        self._open[caller.id] -= 1
        if not self._open[caller.id]:
            del self._open[caller.id]
        OPEN.set(self._open.total())

    def is_welcome(self, caller: Caller) -> bool:
        return caller.expires > time.time() and not self._revocations.cover(caller)


def last_event_id(request: Request) -> str | None:
    """Return the id of the last event that the client received; None if it is missing or too long."""
    value = request.headers.get("last-event-id")
    return value if value and len(value) <= LAST_EVENT_ID_CHARACTERS_MAX else None


class Stream(Response):
    """A response of server-sent events."""

    def __init__(self, streams: Streams, caller: Caller, events: AsyncIterator[ServerSentEvent]) -> None:
        self.status_code, self.background = 200, None
        self._streams, self._caller, self._events = streams, caller, events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._streams.enter(self._caller)  # refuses before the response starts
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS]})
            if scope["method"] != "HEAD":
                await self._send_until_the_end(scope, receive, send)
            await send({"type": "http.response.body", "body": b""})
        except TimeoutError:  # the response stays incomplete, so the server closes the connection
            log.warning("stream_client_slow", path=scope["path"])
        finally:
            self._streams.leave(self._caller)

    async def _send_until_the_end(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the events end, the client disconnects, or the server drains."""
        state = scope.get(SERVER_STATE)
        parts = [
            asyncio.create_task(self._send_events(send), name="stream: events"),
            asyncio.create_task(_left(receive), name="stream: client"),
        ]
        if state is not None:
            parts.append(asyncio.create_task(state.ending.wait(), name="stream: server"))
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for part in parts:
                part.cancel()
            await asyncio.wait(parts)
        for part in done:
            part.result()

    async def _send_events(self, send: Send) -> None:
        async with aclosing(_Source(self._events)) as source:
            await _send(send, f"retry: {RECONNECT_MS}\n\n".encode())
            sent = time.monotonic()
            while self._streams.is_welcome(self._caller):
                event = await source.next_within(CHECK_SECONDS)
                if event is _ENDED:
                    return
                if event is not None:
                    await _send(send, bytes(event))
                elif time.monotonic() - sent < HEARTBEAT_SECONDS:
                    continue
                else:
                    await _send(send, b":\n\n")  # the heartbeat: a comment
                sent = time.monotonic()


_ENDED = ServerSentEvent("", name="the source has ended")


class _Source:
    """Reads events with a timeout that does not cancel the pending read."""

    def __init__(self, events: AsyncIterator[ServerSentEvent]) -> None:
        self._events = events
        self._next: asyncio.Task[ServerSentEvent] | None = None

    async def next_within(self, seconds: float) -> ServerSentEvent | None:
        """Return the next event; None if it does not arrive in time."""
        self._next = self._next or asyncio.create_task(self._read(), name="stream: next event")
        done, _ = await asyncio.wait([self._next], timeout=seconds)
        if not done:
            return None
        event, self._next = self._next.result(), None
        return event

    async def _read(self) -> ServerSentEvent:
        return await anext(self._events, _ENDED)

    async def aclose(self) -> None:
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait([self._next])
        closing = getattr(self._events, "aclose", None)
        if closing is not None:
            await closing()


async def _send(send: Send, body: bytes) -> None:
    """Send a chunk; raise TimeoutError if the client reads too slowly."""
    async with asyncio.timeout(SLOW_CLIENT_SECONDS):
        await send({"type": "http.response.body", "body": body, "more_body": True})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
