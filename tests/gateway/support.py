"""A gateway in this process on a free port, and a client that sees every byte."""

import asyncio
import json
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import uvicorn

from gateway.config.routes_file import load
from gateway.forwarding.repeated_heads import RememberingProtocol
from gateway.forwarding.request_head import NOWHERE
from gateway.forwarding.tls import https
from gateway.http.headers import Header, Request
from gateway.request import RequestRules, RequestState
from gateway.routing.table import RouteTable
from gateway.runtime.certificate import first_certificate
from gateway.runtime.gateway import Gateway
from gateway.runtime.reload import Reload, first_keys
from gateway.settings import Settings
from gateway.site.app import create_app
from shared.caller import Caller
from shared.process.server import CloseWhenDraining, Server

WAIT_SECONDS_MAX = 15


@dataclass(frozen=True)
class Peer:
    """A client at this address."""

    peer: str = "127.0.0.1"
    scheme: str = "http"


def request_state(peer: str = "127.0.0.1", headers: Sequence[Header] = ()) -> RequestState:
    """Return a GET request as policies and targets see it, which matches no route."""
    request = Request(b"GET", b"/", [*headers])
    state = RequestState(Peer(peer), RequestRules(), RouteTable([]), request, NOWHERE, keep_alive=True)
    state.read_headers()
    return state


def caller(user_id: str, client_id: str | None = None) -> Caller:
    return Caller(
        id=user_id,
        role="user",
        username=None,
        email=None,
        session_id=None,
        scopes=frozenset(),
        expires=float("inf"),
        client_id=client_id,
    )


async def eventually(condition: Callable[[], bool]) -> None:
    """Poll for a condition for which no event is set."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not condition():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.005)


@dataclass
class Answer:
    """One response as received."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]

    def value(self, name: str) -> str | None:
        return next(iter(self.values(name)), None)

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        assert self.value("content-type") == "application/problem+json", self
        problem = self.json()
        assert problem["status"] == self.status
        assert problem["request_id"] == self.value("x-request-id")
        return str(problem["code"])


class Wire:
    """A connection to the gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *parts: bytes | str) -> None:
        for part in parts:
            self.writer.write(part.encode("latin-1") if isinstance(part, str) else part)
        await self.writer.drain()

    async def head(self) -> Answer:
        block = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = block[:-4].decode("latin-1").split("\r\n")
        headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        return Answer(int(first.split(" ")[1]), headers)

    async def answer(self, method: str = "GET") -> Answer:
        """Return the next complete response; a body that is cut off raises IncompleteReadError."""
        answer = await self.head()
        if method == "HEAD" or answer.status in (204, 304) or answer.status < 200:
            return answer
        if answer.value("transfer-encoding") == "chunked":
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                answer.body += (await self.reader.readexactly(size + 2))[:-2]
            assert await self.reader.readuntil(b"\r\n") == b"\r\n"
        elif (length := answer.value("content-length")) is not None:
            answer.body = await self.reader.readexactly(int(length))
        else:
            answer.body = await self.reader.read()
        return answer

    async def request(
        self, method: str, target: str, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        lines = [f"{method} {target} HTTP/1.1", "Host: gateway.test"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        await self.send("\r\n".join([*lines, "", ""]), body)
        return await self.answer(method)

    async def is_closed(self) -> bool:
        """Wait until the gateway closes the connection or sends something; return whether it is closed."""
        return await self.reader.read(1) == b""

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


class RunningGateway:
    """The gateway of one test, as `python -m gateway` would run it."""

    def __init__(self, routes: str, settings: Settings, folder: Path) -> None:
        self.file = folder / "routes.yaml"
        self.write(routes)
        self.settings = settings.model_copy(update={"routes_file": self.file})
        self.table = load(self.file, development=settings.environment == "development")
        self._app = CloseWhenDraining(
            create_app(self.settings, self.table, first_keys(self.settings, self.table))
        )
        self._wires: list[Wire] = []

    async def __aenter__(self) -> Self:
        listening = socket.create_server(("127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        config = uvicorn.Config(
            self._app,
            http=RememberingProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=int(self.settings.drain_seconds),
        )
        config.load()
        # uvicorn's lifecycle without its main loop, which only checks for signals ten times a second.
        opening = https(first_certificate(self.settings))
        self.server = self._app.server = Server(config, opening)
        self.server.lifespan = config.lifespan_class(config)
        await self.server.startup([listening])
        await self.server.on_tick(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        for wire in self._wires:
            await wire.close()
        if not self.server.server_state.draining:
            await self._end()

    async def stop(self) -> None:
        """Shut down as after SIGTERM."""
        await self.server.shutdown()

    async def _end(self) -> None:
        """Shut down without the tenth of a second that uvicorn gives to clients, since none are left."""
        for server in self.server.servers:
            server.close()
        for connection in tuple(self.server.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # lets the event loop call connection_lost
        await self.server.lifespan.shutdown()

    @property
    def state(self) -> Gateway:
        gateway: Gateway = self.server.lifespan.state["gateway"]
        return gateway

    @property
    def reload(self) -> Reload:
        reload: Reload = self.server.lifespan.state["reload"]
        return reload

    def write(self, routes: str) -> None:
        """Replace routes.yaml atomically, as editors do."""
        draft = self.file.with_suffix(".draft")
        draft.write_text(routes)
        draft.replace(self.file)

    async def connect(self, tls: ssl.SSLContext | None = None) -> Wire:
        """Connect to the plain port, or with a context to the HTTPS port."""
        port, name = (self.settings.tls_port, "localhost") if tls else (self.port, None)
        wire = Wire(
            *await asyncio.open_connection("127.0.0.1", port, limit=1 << 20, ssl=tls, server_hostname=name)
        )
        self._wires.append(wire)
        return wire

    async def request(
        self, method: str, target: str, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        wire = await self.connect()
        answer = await wire.request(method, target, headers, body)
        await wire.close()
        return answer

    async def raw(self, data: bytes | str) -> bytes:
        """Send these bytes; return everything received until the gateway closes."""
        wire = await self.connect()
        await wire.send(data)
        return await wire.reader.read()
