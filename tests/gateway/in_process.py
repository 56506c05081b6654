"""A gateway between transports in memory: the whole path of a request without sockets."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import uvicorn

from gateway.forwarding.client_protocol import GatewayProtocol
from gateway.forwarding.repeated_heads import RememberingProtocol
from gateway.policies.api_keys import NO_KEYS, ApiKeys
from gateway.routing.table import RouteTable
from gateway.runtime.gateway import Gateway
from gateway.settings import Settings
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.pool import Backend
from shared.peers.client import HttpClient
from shared.process.server import State

PEER = ("127.0.0.1", 40_000)


class Wire:
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False
        self.ended = False
        self.paused = False

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return True

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, *_: object) -> None:
        pass

    def get_extra_info(self, name: str, default: object = None) -> object:
        return {"peername": PEER, "sockname": ("127.0.0.1", 8000)}.get(name, default)

    def taken(self) -> bytes:
        data = b"".join(self.written)
        self.written.clear()
        return data


async def _own_pages(_scope: Any, _receive: Any, send: Any) -> None:
    """Respond to requests without a route, as the gateway's own pages would."""
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


class InMemory:
    """The gateway, its clients and its targets, all in this process."""

    def __init__(
        self,
        settings: Settings,
        table: RouteTable,
        api_keys: ApiKeys = NO_KEYS,
        *,
        protocol: type[GatewayProtocol] = RememberingProtocol,
    ) -> None:
        self.gateway = Gateway(settings, table, HttpClient(), api_keys)
        self.state = State()
        self.targets: list[tuple[UpstreamConnection, Wire]] = []
        self._protocol = protocol
        self._config = uvicorn.Config(
            _own_pages, ws="none", log_config=None, access_log=False, server_header=False
        )
        self._config.load()
        self.adopt()

    def adopt(self) -> None:
        """Let every target of the current table be reached in memory."""
        for backend in self.gateway.routing.backends.values():
            self._bring_near(backend)

    def _bring_near(self, backend: Backend) -> None:
        async def connect() -> UpstreamConnection:
            return self.connect(backend)

        cast("Any", backend)._connect = connect

    def client(self) -> tuple[GatewayProtocol, Wire]:
        wire = Wire()
        made = self._protocol(self._config, self.state, {"gateway": self.gateway}, asyncio.get_running_loop())
        made.connection_made(cast("asyncio.Transport", wire))
        return made, wire

    def connect(self, backend: Backend) -> UpstreamConnection:
        wire = Wire()
        made = UpstreamConnection(backend)
        made.connection_made(cast("asyncio.Transport", wire))
        self.targets.append((made, wire))
        return made

    def asked(self) -> Sequence[tuple[UpstreamConnection, bytes]]:
        """Take what was written to the targets."""
        return [(connection, wire.taken()) for connection, wire in self.targets if wire.written]

    def bury(self) -> None:
        """Report the end of the connections to targets that the gateway has closed."""
        for connection, wire in [each for each in self.targets if each[1].closed]:
            self.targets.remove((connection, wire))
            connection.connection_lost(None)
