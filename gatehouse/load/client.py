"""A small HTTP/1.1 client, so that the measurement costs less than what it measures."""

import asyncio
import json
import ssl
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httptools

IDLE_SECONDS = 30.0  # shorter than the gateway's, so that it never closes a connection first
BODY_BYTES_MAX = 4 << 20
TIMEOUT, UNREACHABLE, LOST, TOO_LARGE = "timeout", "unreachable", "connection_lost", "response_too_large"


class Failed(Exception):
    """No complete response arrived; `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(slots=True)
class Response:
    """A complete response."""

    status: int
    body: bytes
    headers: dict[bytes, bytes] = field(default_factory=dict)

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Return the code of a refusal, or its status if it is no problem of ours."""
        try:
            return str(self.json()["code"])
        except (ValueError, KeyError, TypeError):
            return f"status_{self.status}"


class Client:
    """Connections to one server, kept open between requests."""

    def __init__(self, url: str, *, verify: bool = True, timeout: float = 30.0) -> None:
        parts = urlsplit(url)
        self.host, is_secure = parts.hostname or "localhost", parts.scheme == "https"
        self.port = parts.port or (443 if is_secure else 80)
        self._tls = _context(verify=verify) if is_secure else None
        self._timeout = timeout
        self._idle: list[_Connection] = []
        self._head = f"Host: {parts.netloc.rpartition('@')[2]}\r\nUser-Agent: gatehouse-load\r\n"

    async def request(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> Response:
        lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        length = f"Content-Length: {len(body)}\r\n" if body or method in ("POST", "PUT", "PATCH") else ""
        data = f"{method} {path} HTTP/1.1\r\n{self._head}{lines}{length}\r\n".encode() + body
        try:
            async with asyncio.timeout(self._timeout):
                return await self._exchange(data)
        except TimeoutError:
            raise Failed(TIMEOUT) from None

    async def _exchange(self, data: bytes) -> Response:
        connection = self._taken() or await self._connected()
        try:
            response = await connection.exchange(data)
        except BaseException:
            connection.close()
            raise
        if connection.keeps_open:
            self._idle.append(connection)
        else:
            connection.close()
        return response

    def _taken(self) -> "_Connection | None":
        """Return the connection that was used last, if one is still good."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_fresh:
                return connection
            connection.close()
        return None

    async def _connected(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(_Connection, self.host, self.port, ssl=self._tls)
        except OSError:
            raise Failed(UNREACHABLE) from None
        return connection

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()


class _Connection(asyncio.Protocol):
    """One connection with at most one request under way."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._waiting: asyncio.Future[Response] | None = None
        self._response = Response(0, b"")
        self._pieces: list[bytes] = []
        self._bytes = 0
        self._used = 0.0
        self.keeps_open = False

    @property
    def is_fresh(self) -> bool:
        is_open = self._transport is not None and not self._transport.is_closing()
        return is_open and time.monotonic() - self._used < IDLE_SECONDS

    async def exchange(self, data: bytes) -> Response:
        self._parser = httptools.HttpResponseParser(self)
        self._response, self._pieces, self._bytes, self.keeps_open = Response(0, b""), [], 0, False
        self._waiting = asyncio.get_running_loop().create_future()
        assert self._transport is not None
        self._transport.write(data)
        try:
            return await self._waiting
        finally:
            self._waiting = None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # Called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._waiting is None:
            self.close()  # a response without a request
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail(LOST)

    def connection_lost(self, _error: Exception | None) -> None:
        self._fail(LOST)

    def _fail(self, code: str) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(Failed(code))

    # Called by the parser.

    def on_header(self, name: bytes, value: bytes) -> None:
        self._response.headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self._bytes += len(body)
        if self._bytes > BODY_BYTES_MAX:
            self._fail(TOO_LARGE)
        else:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        self._response.status = self._parser.get_status_code()
        if self._response.status < 200 or self._waiting is None or self._waiting.done():
            return
        self._response.body = b"".join(self._pieces)
        self._used, self.keeps_open = time.monotonic(), self._parser.should_keep_alive()
        self._waiting.set_result(self._response)


def _context(*, verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
