"""Serves an app on a real port, in this process, as `shared.process.server.serve` would."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import uvicorn
from starlette.types import ASGIApp

from shared.process.server import WEBSOCKET_PROTOCOLS, CloseWhenDraining, Server, WebSockets


@asynccontextmanager
async def served(
    app: ASGIApp, *, websockets: WebSockets = "none"
) -> AsyncIterator[tuple[Server, httpx.AsyncClient]]:
    """Yield the server, which tests may shut down, and a client of it."""
    closing = CloseWhenDraining(app)
    config = uvicorn.Config(
        closing,
        ws=WEBSOCKET_PROTOCOLS[websockets],
        lifespan="on",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
    )
    config.load()
    server = closing.server = Server(config)
    server.lifespan = config.lifespan_class(config)
    listening = socket.create_server(("127.0.0.1", 0))
    await server.startup([listening])
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=20) as client:
            yield server, client
    finally:
        if not server.server_state.draining:
            await server.shutdown([listening])
