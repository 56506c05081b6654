"""Carries packets between a connection and its client: by long polling, or over a WebSocket."""

import asyncio
from contextlib import suppress

from starlette.websockets import WebSocket, WebSocketDisconnect

from services.terminal.errors import UnknownConnection
from services.terminal.protocol import Close
from services.terminal.socketio import packets
from services.terminal.socketio.connection import PING_SECONDS, TIMEOUT_SECONDS, Connection
from services.terminal.socketio.packets import BadPacket, Kind
from shared.process.tasks import end

PROBE = "probe"
PROBE_SECONDS = 10.0
# The client switches once no poll of it is pending, and may send another one before it knows of the probe.
UPGRADING_SECONDS = 0.1


def opened(connection: Connection, upgrades: list[str]) -> str:
    """Return the first packet of a connection."""
    return packets.opened(connection.sid, upgrades, PING_SECONDS, TIMEOUT_SECONDS)


async def poll(connection: Connection) -> str:
    """Wait for packets and return them, joined."""
    if connection.is_polled or connection.is_upgraded:
        raise UnknownConnection
    connection.is_polled = True
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(UPGRADING_SECONDS if connection.is_upgrading else None):
                await connection.wake.wait()
    finally:
        connection.is_polled = False
    taken = connection.take()
    if connection.is_closed or not taken:
        taken = [*taken, Kind.CLOSE if connection.is_closed else Kind.NOOP]
    elif connection.is_ending:
        connection.close()
    return packets.SEPARATOR.join(taken)


async def post(connection: Connection, body: bytes) -> None:
    """Receive the packets of a request; BadPacket closes the connection."""
    try:
        for kind, text in packets.split(body.decode()):
            await connection.receive(kind, text)
    except (BadPacket, UnicodeDecodeError) as error:
        connection.close()
        raise BadPacket("not Engine.IO packets") from error


async def serve(websocket: WebSocket, connection: Connection, *, is_new: bool) -> None:
    """Accept a WebSocket and serve it until either side ends the connection."""
    try:
        await websocket.accept()
        if is_new:
            await websocket.send_text(opened(connection, []))
            connection.is_upgraded = True
        else:
            await _upgrade(websocket, connection)
        await _both_ways(websocket, connection)
    except (BadPacket, TimeoutError):
        await websocket.close(Close.BAD_MESSAGE, "not Engine.IO")
    except WebSocketDisconnect:
        pass


async def _upgrade(websocket: WebSocket, connection: Connection) -> None:
    """Take over from polling: after a probe both ways, the pending poll ends and the client switches."""
    async with asyncio.timeout(PROBE_SECONDS):
        if packets.read(await _receive(websocket)) != (Kind.PING, PROBE):
            raise BadPacket("expected a probe")
        connection.is_upgrading = True
        await websocket.send_text(f"{Kind.PONG}{PROBE}")
        if connection.is_polled:
            connection.send(Kind.NOOP)
        if packets.read(await _receive(websocket))[0] != Kind.UPGRADE:
            raise BadPacket("expected an upgrade")
    connection.is_upgraded = True


async def _both_ways(websocket: WebSocket, connection: Connection) -> None:
    parts = [
        asyncio.create_task(_read(websocket, connection), name="socketio: read"),
        asyncio.create_task(_write(websocket, connection), name="socketio: write"),
    ]
    try:
        done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end(parts)
    for part in done:
        part.result()


async def _read(websocket: WebSocket, connection: Connection) -> None:
    while not connection.is_closed:
        await connection.receive(*packets.read(await _receive(websocket)))


async def _write(websocket: WebSocket, connection: Connection) -> None:
    while True:
        await connection.wake.wait()
        for packet in connection.take():
            await websocket.send_text(packet)
        if connection.is_closed or (connection.is_ending and not connection.wake.is_set()):
            await websocket.close()
            return


async def _receive(websocket: WebSocket) -> str:
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    text = message.get("text")
    if not isinstance(text, str):
        raise BadPacket("packets are text")
    return text
