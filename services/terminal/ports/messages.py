"""One WebSocket to the program at a port: messages are copied both ways."""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress

import websockets
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from services.terminal.errors import BadPortResponse
from services.terminal.ports.headers import OF_SOCKETS, Header
from shared.process.tasks import end

MESSAGE_BYTES_MAX = 4 << 20  # from the program; the server limits those of the client
OPEN_SECONDS = 20.0
RESTARTING = 1012
REFUSALS = range(400, 600)
PRIVATE = range(3000, 5000)
SENDABLE = frozenset((1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, *PRIVATE))


class Refused(Exception):
    """The program responded to the handshake with a status other than 101."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status


async def connect(
    connection: socket.socket, local: str, target: str, headers: Sequence[Header], offered: Sequence[str]
) -> ClientConnection:
    """Open a WebSocket over this connection."""
    extra = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in headers
        if not name.startswith(OF_SOCKETS) and name not in (b"host", b"content-length")
    ]
    try:
        return await websockets.connect(
            f"ws://{local}{target}",
            sock=connection,
            additional_headers=extra,
            subprotocols=[Subprotocol(one) for one in offered] or None,
            user_agent_header=None,
            compression=None,
            proxy=None,
            open_timeout=OPEN_SECONDS,
            max_size=MESSAGE_BYTES_MAX,
            max_queue=4,
        )
    except InvalidStatus as error:
        if error.response.status_code not in REFUSALS:
            raise BadPortResponse from error
        raise Refused(error.response.status_code) from error
    except (WebSocketException, OSError, TimeoutError, ValueError) as error:  # ValueError: a redirect
        raise BadPortResponse from error


async def converse(websocket: WebSocket, inside: ClientConnection) -> None:
    """Copy messages until one side closes; its close code is passed on."""
    await websocket.accept(subprotocol=inside.subprotocol)
    parts = [
        asyncio.create_task(_to_program(websocket, inside)),
        asyncio.create_task(_to_client(websocket, inside)),
    ]
    try:
        done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end(parts)
    for part in done:
        part.result()


async def _to_program(websocket: WebSocket, inside: ClientConnection) -> None:
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            code = message.get("code", 1005)
            await inside.close(code if code in SENDABLE else 1000)
            return
        text = message.get("text")
        try:
            await inside.send(text if text is not None else message.get("bytes") or b"")
        except ConnectionClosed:
            await asyncio.Event().wait()  # until the other task has closed the socket


async def _to_client(websocket: WebSocket, inside: ClientConnection) -> None:
    try:
        async for message in inside:
            if isinstance(message, str):
                await websocket.send_text(message)
            else:
                await websocket.send_bytes(message)
    except ConnectionClosed:
        pass
    except WebSocketDisconnect:
        return
    code = inside.close_code or RESTARTING
    with suppress(WebSocketDisconnect):
        await websocket.close(code if code in SENDABLE else RESTARTING, inside.close_reason or "")
