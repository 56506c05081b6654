"""The uvicorn server of every process, with a shutdown that loses no request."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any, Literal, NoReturn, Protocol, cast

import structlog
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.server import ServerState

from shared.process.settings import ProcessSettings
from shared.process.supervision import LISTEN_FD, follow_parent, report_phase

KEEP_ALIVE_SECONDS = 75  # longer than our clients keep idle connections, so that we never close first
TICK_SECONDS = 1.0
LAST_REQUESTS_SECONDS = 1.0
LAST_BYTES_SECONDS = 0.5
WEBSOCKET_MESSAGE_BYTES_MAX = 256 * 1024
SERVER_STATE = "gatehouse.server_state"  # scope key; lets long responses notice the shutdown

WebSockets = Literal["none", "direct"]
WEBSOCKET_PROTOCOLS: dict[WebSockets, str] = {  # imported when needed: not every service has the library
    "none": "none",
    "direct": "shared.process.direct_websockets:DirectWebSocket",
}

log = structlog.get_logger(__name__)


class State(ServerState):
    """The state shared by all connections of a server, including whether it is draining."""

    draining = False

    def __init__(self) -> None:
        super().__init__()
        self.ending = asyncio.Event()  # set when draining begins


class PortError(OSError):
    """A port cannot be listened on; the message says why, and names the setting of the port."""

    def __init__(self, host: str, port: int, setting: str, error: OSError) -> None:
        reason = f"cannot listen on {host}:{port} ({error.strerror})"
        super().__init__(f"{reason}. Stop the process that uses the port, or set {setting} to a free one.")


class Listener(Protocol):
    """Another port, closed when draining begins."""

    def close(self) -> None: ...
    async def wait_closed(self) -> None: ...


# Opens another port for the same protocol, given uvicorn's configuration and the state of the connections.
Opening = Callable[[uvicorn.Config, State, dict[str, Any]], Listener]


class Server(uvicorn.Server):
    """Shuts down in two steps: connections close after their next response, then the server ends.

    uvicorn alone closes idle keep-alive connections immediately and thereby loses requests already in
    transit.
    """

    server_state: State

    def __init__(self, config: uvicorn.Config, opening: Opening | None = None) -> None:
        super().__init__(config)
        self._opening = opening
        self.server_state = State()
        self._wake: Callable[[], object] = bool

    async def main_loop(self) -> None:
        """Tick once a second. uvicorn ticks ten times as often, which keeps an idle process busy."""
        loop, is_leaving = asyncio.get_running_loop(), asyncio.Event()
        self._wake = partial(loop.call_soon_threadsafe, is_leaving.set)
        while not await self.on_tick(0):  # 0: renew the date of responses, too
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await is_leaving.wait()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Exit with 0 on SIGTERM; uvicorn would raise the signal again after draining."""
        if sig == signal.SIGTERM:
            self.should_exit = True
        else:
            super().handle_exit(sig, frame)
        self._wake()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        try:
            # Two sockets may bind one port until one listens. If another process listened first, uvloop
            # does not report it, and this process would never get a request.
            for listening in sockets or ():
                listening.listen(self.config.backlog)
            if self._opening is not None:
                other = self._opening(self.config, self.server_state, self.lifespan.state)
                self.servers.append(cast("asyncio.Server", other))
        except OSError:
            await self.lifespan.shutdown()
            raise
        report_phase("listening")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        log.info("draining", connections=len(self.server_state.connections))
        for server in self.servers:
            server.close()
        self.server_state.draining = True
        self.server_state.ending.set()
        await self._all_connections_closed_within(LAST_REQUESTS_SECONDS)
        await super().shutdown(sockets)
        # Long streams and upgraded connections are still open.
        for connection in tuple(self.server_state.connections):
            connection.transport.close()
        await self._all_connections_closed_within(LAST_BYTES_SECONDS)
        log.info("stopped")

    async def _all_connections_closed_within(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._all_connections_closed()

    async def _all_connections_closed(self) -> None:
        # uvicorn keeps a plain set of connections; no event signals that it is empty.
        while self.server_state.connections and not self.force_exit:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


class CloseWhenDraining:
    """Adds `Connection: close` to every response once the server is draining."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.server: Server | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self.server is None:
            await self._app(scope, receive, send)
            return
        server = self.server
        scope[SERVER_STATE] = server.server_state

        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start" and server.server_state.draining:
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await self._app(scope, receive, send_and_close)


def is_draining(scope: Scope) -> bool:
    """Whether the server is draining, so that long responses should end."""
    state: State | None = scope.get(SERVER_STATE)
    return state is not None and state.draining


def serve(
    app: ASGIApp,
    settings: ProcessSettings,
    protocol: type[asyncio.Protocol] | Literal["httptools"] = "httptools",
    prepare: Callable[[], None] = lambda: None,
    websockets: WebSockets = "none",
    opening: Opening | None = None,
) -> None:
    """Serve until stopped. If the port is taken, exit with a message that names it.

    `prepare` may take long; it runs once the port is bound, and while there is no other thread, so that it
    may fork.
    """
    closing = CloseWhenDraining(app)
    config = uvicorn.Config(
        closing,
        host=settings.host,
        port=settings.port,
        http=protocol,
        ws=WEBSOCKET_PROTOCOLS[websockets],
        ws_max_size=WEBSOCKET_MESSAGE_BYTES_MAX,
        ws_per_message_deflate=False,  # costs memory per connection
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=2048,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(settings.drain_seconds),
    )
    server = closing.server = Server(config, opening)
    listening = listen(settings)
    prepare()
    follow_parent(listening)
    report_phase("starting")
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        pass  # uvicorn has handled Ctrl-C, and raises it again at the end
    except OSError as error:
        exit_without_port(settings, error)
    if not server.started:
        sys.exit(3)


def listen(settings: ProcessSettings, *, shared: bool = False) -> socket.socket:
    """Return the socket to listen on, or exit with a message that says what to do.

    Several `shared` sockets may use one port; the kernel spreads connections over them.
    """
    inherited = os.environ.get(LISTEN_FD)
    if inherited is not None:
        return socket.socket(fileno=int(inherited))
    try:
        listening = bound_socket(settings.host, settings.port, shared=shared)
    except OSError as error:
        exit_without_port(settings, error)
    listening.set_inheritable(True)
    return listening


def bound_socket(host: str, port: int, *, shared: bool) -> socket.socket:
    """Return a socket that is bound to a port of an IPv4 or IPv6 host, but does not listen yet."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def exit_without_port(settings: ProcessSettings, error: OSError) -> NoReturn:
    """Exit with 4 and a message that says what to do; without another name, PORT is at fault."""
    if not isinstance(error, PortError):
        error = PortError(settings.host, settings.port, "PORT", error)
    sys.stderr.write(f"{settings.service}: {error}\n")
    sys.exit(4)
