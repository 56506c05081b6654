"""The pool of connections to one target, and the health of that target."""

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable
from weakref import WeakMethod

import structlog

from gateway.errors import CONNECT_TIMEOUT, OVERLOADED, UNREACHABLE, Refusal
from gateway.routing.upstreams import Target
from gateway.telemetry.metrics import HEALTHY
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.ejection import Standing

_WELL = re.compile(rb"HTTP/1\.[01] [23]\d\d")

log = structlog.get_logger(__name__)


class Backend:
    """All connections to one target. Idle ones are reused, the most recently used first."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.origin = target.origin
        self.name = target.origin.authority
        self.host_line = b"host: %b\r\n" % self.name.encode()
        self.open: set[UpstreamConnection] = set()
        self.relays = 0
        self.is_retired = False
        self._routes: set[str] = set()
        self._subscribers: list[WeakMethod[Callable[[], None]]] = []
        self.standing = Standing(target, self._changed)
        self._pool = target.care.pool
        self._breaker = target.care.breaker
        self._idle: deque[UpstreamConnection] = deque()
        self._connecting = 0
        self._waiting: deque[asyncio.Future[UpstreamConnection | None]] = deque()
        self._check_at = 0.0

    @property
    def load(self) -> int:
        """The number of requests and relays in progress or waiting."""
        in_use = len(self.open) - len(self._idle)
        return in_use + self._connecting + len(self._waiting) + self.relays

    @property
    def routes(self) -> list[str]:
        return sorted(self._routes)

    def serve(self, routes: set[str]) -> None:
        """Set the routes that lead to this target."""
        self._routes = routes
        self._show()

    def _show(self) -> None:
        for route in self._routes:
            HEALTHY.labels(route, self.name).set(self.standing.is_healthy)

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Call this method when the target is ejected, fails its checks, or returns.

        Only a weak reference is kept, so a group that a reload replaced need not unsubscribe.
        """
        self._subscribers = [each for each in self._subscribers if each() is not None]
        self._subscribers.append(WeakMethod(changed))

    def _changed(self) -> None:
        for subscriber in self._subscribers:
            changed = subscriber()
            if changed is not None:
                changed()
        self._show()

    # Connections.

    def take(self) -> UpstreamConnection | None:
        """Return an idle connection, if there is one. Never waits."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.transport.is_closing():
                return connection
        return None

    async def connect(self, seconds: float, *, fresh: bool) -> UpstreamConnection:
        """Return a new connection within this time; or, if all are in use and not `fresh`, a released one."""
        try:
            async with asyncio.timeout(seconds):
                while self._is_full:
                    connection = await self._set_free()
                    if connection is None or connection.transport.is_closing():
                        continue
                    if not fresh:
                        return connection
                    connection.close()
                return await self._connect()
        except TimeoutError:
            if self._is_full:
                raise Refusal(OVERLOADED, headers={"Retry-After": "1"}) from None
            raise Refusal(CONNECT_TIMEOUT) from None
        except OSError as error:
            raise Refusal(UNREACHABLE) from error

    def release(self, connection: UpstreamConnection) -> None:
        """Take back a connection whose last exchange ended cleanly."""
        now = time.monotonic()
        if self.is_retired or now - connection.opened > self._pool.max_age:
            connection.close()
            return
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        if len(self._idle) >= self._pool.max_idle:
            connection.close()
            return
        connection.idle_since = now
        self._idle.append(connection)

    def forget(self, connection: UpstreamConnection) -> None:
        """Stop tracking a connection that closed or was upgraded."""
        self.open.discard(connection)
        if self._idle and connection in self._idle:
            self._idle.remove(connection)
        self._wake_one()

    def drop_stale(self, now: float) -> None:
        """Close connections that were idle for so long that the backend may close them."""
        while self._idle and now - self._idle[0].idle_since > self._pool.idle:
            self._idle.popleft().close()

    def retire(self) -> None:
        """Close idle connections now, and the others once they are idle: no new request will use them."""
        self.is_retired = True
        self._routes = set()
        while self._idle:
            self._idle.pop().close()

    def close(self) -> None:
        for connection in tuple(self.open):
            connection.close()

    @property
    def _is_full(self) -> bool:
        return len(self.open) + self._connecting >= self._breaker.max_requests

    def _wake_one(self) -> None:
        """Wake one waiter: there is room for a connection."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    async def _set_free(self) -> UpstreamConnection | None:
        if len(self._waiting) >= self._breaker.max_pending:
            raise Refusal(OVERLOADED, headers={"Retry-After": "1"})
        waiter: asyncio.Future[UpstreamConnection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            # It may have been given a connection, or room, at the very moment it timed out.
            if waiter.done() and not waiter.cancelled():
                connection = waiter.result()
                if connection is None:
                    self._wake_one()
                else:
                    self.release(connection)
            raise

    async def _connect(self) -> UpstreamConnection:
        # The event loop resolves all addresses of the name and tries them in turn: `localhost` is often ::1
        # first, while the service listens on 127.0.0.1.
        self._connecting += 1
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: UpstreamConnection(self), self.origin.host, self.origin.port
            )
        except BaseException:
            self._wake_one()
            raise
        finally:
            self._connecting -= 1
        return connection

    # Active checks.

    def is_check_due(self, now: float) -> bool:
        """Whether a check is due; if so, schedules the next one."""
        health = self.target.care.health
        if health is None or now < self._check_at:
            return False
        self._check_at = now + max(health.every, health.timeout)
        return True

    async def check(self) -> None:
        """Check on a new connection, as a new client would: 2xx and 3xx are healthy."""
        health = self.target.care.health
        assert health is not None
        line = b""
        try:
            async with asyncio.timeout(health.timeout):
                reader, writer = await asyncio.open_connection(self.origin.host, self.origin.port)
                try:
                    head = f"GET {health.path} HTTP/1.1\r\nhost: {self.name}\r\n"
                    writer.write(f"{head}user-agent: gatehouse\r\nconnection: close\r\n\r\n".encode())
                    line = await reader.readline()
                finally:
                    writer.close()
        except (OSError, ValueError, TimeoutError) as error:
            log.debug("check_failed", target=self.name, error=repr(error))
        self.standing.checked(is_well=_WELL.match(line) is not None)
