"""The HTTPS port: connections are counted and bounded from the first byte, before the handshake."""

import asyncio
import socket
from contextlib import suppress
from typing import Any

import structlog
import uvicorn
from prometheus_client import Counter

from gateway.forwarding.client_protocol import GatewayProtocol
from gateway.runtime.certificate import Certificate
from gateway.runtime.gateway import Gateway
from gateway.settings import Settings
from shared.process.server import Listener, Opening, PortError, State, bound_socket, exit_without_port

GOODBYE_SECONDS = 2.0  # to answer our close_notify
BACKLOG = 2048
PAUSE_SECONDS = 0.1  # after a failed accept, for example when no descriptor is free
HANDSHAKES = Counter("gateway_tls_handshakes_total", "TLS handshakes, by outcome", ["outcome"])

log = structlog.get_logger(__name__)


class HttpsPort:
    """Accepts connections; GatewayProtocol takes over after the handshake.

    asyncio's own server calls no protocol before the end of the handshake, so clients that never finish it
    would not be counted.
    """

    def __init__(
        self, gateway: Gateway, certificate: Certificate, config: uvicorn.Config, state: State
    ) -> None:
        self._gateway, self._certificate = gateway, certificate
        self._config, self._state = config, state
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None

    def open(self, app_state: dict[str, Any]) -> None:
        settings = self._gateway.settings
        self._socket = _listening(settings)
        self._socket.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(self._socket, app_state))
        self._gateway.spawn(self._certificate.watch())
        log.info("listening_for_https", host=settings.host, port=settings.tls_port)

    async def _accept(self, listening: socket.socket, app_state: dict[str, Any]) -> None:
        loop, crowd = asyncio.get_running_loop(), self._gateway.crowd
        while True:
            try:
                connection, address = await loop.sock_accept(listening)
            except OSError as error:
                log.warning("connection_not_accepted", reason=error.strerror)
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if not crowd.begin_handshake(peer := address[0]):
                connection.close()  # a refusal would need a handshake, which costs more than it saves
                continue
            self._gateway.spawn(self._shake_hands(connection, peer, app_state))

    async def _shake_hands(self, connection: socket.socket, peer: str, app_state: dict[str, Any]) -> None:
        crowd = self._gateway.crowd

        def begin() -> GatewayProtocol:
            return GatewayProtocol(self._config, self._state, app_state)

        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                begin,
                connection,
                ssl=self._certificate.context,
                ssl_handshake_timeout=self._gateway.settings.head_seconds,
                ssl_shutdown_timeout=GOODBYE_SECONDS,
            )
        except OSError:  # a bad handshake, none in time, or the client is gone
            HANDSHAKES.labels("failed").inc()
            connection.close()
        else:
            HANDSHAKES.labels("done").inc()
        finally:
            crowd.end_handshake(peer)

    def close(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
        if self._socket is not None:
            self._socket.close()

    async def wait_closed(self) -> None:
        if self._accepting is not None:
            with suppress(asyncio.CancelledError):
                await self._accepting


def https(certificate: Certificate | None) -> Opening | None:
    """Return what opens the HTTPS port beside the plain one, if there is a certificate."""
    if certificate is None:
        return None

    def opening(config: uvicorn.Config, state: State, app_state: dict[str, Any]) -> Listener:
        port = HttpsPort(app_state["gateway"], certificate, config, state)
        port.open(app_state)
        return port

    return opening


def refuse_taken_port(settings: Settings) -> None:
    """Exit with 4 if another program uses the HTTPS port, before anything starts."""
    if settings.tls_cert is None:
        return
    try:
        _listening(settings).close()
    except PortError as error:
        exit_without_port(settings, error)


def _listening(settings: Settings) -> socket.socket:
    host, port = settings.host, settings.tls_port
    try:
        listening = bound_socket(host, port, shared=settings.workers > 1)  # each worker has its own
        listening.listen(BACKLOG)
    except OSError as error:
        raise PortError(host, port, "TLS_PORT", error) from error
    return listening
