"""Handlers for Socket.IO: long polling, and the WebSocket that clients switch to."""

import asyncio
from contextlib import suppress
from typing import Literal

from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from services.terminal.access import Door
from services.terminal.errors import UnknownConnection
from services.terminal.protocol import Close
from services.terminal.schemas import Tab
from services.terminal.socketio import packets
from services.terminal.socketio.connection import PING_SECONDS, TIMEOUT_SECONDS, Connection
from services.terminal.socketio.connections import Connections
from services.terminal.socketio.packets import BadPacket, Kind
from shared.caller import Caller
from shared.errors import BadRequest
from shared.http.inputs import read_body, valid
from shared.http.schemas import Query
from shared.http.trail import Trail
from shared.process.tasks import end

BODY_BYTES_MAX = 1024 * 1024
PROBE = "probe"
PROBE_SECONDS = 10.0
# The client switches once no poll of it is pending, and may send another one before it knows of the probe.
UPGRADING_SECONDS = 0.1
HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


class PollQuery(Query):
    """Clients may add parameters of their own, such as one that defeats caches."""

    model_config = ConfigDict(extra="ignore")

    EIO: Literal["4"] = Field(description="The version of Engine.IO.")
    transport: Literal["polling", "websocket"] = "polling"
    sid: str | None = Field(default=None, max_length=64)
    tabId: Tab = "1"  # noqa: N815 - the spelling of the protocol


async def poll_packets(
    query: PollQuery,
    caller: Caller | None,
    request: Request,
    door: Door,
    connections: Connections,
    trail: Trail,
) -> Response:
    """Connect by Socket.IO, or with a `sid` wait for packets.

    The events are those of 3Compute: `resize` {cols, rows} and `pty-input` {input} from the client,
    `pty-output` {output}, `error` {message} and `terminal-restart-required` from the service. The terminal of
    the tab `tabId` is opened at the first `resize`.
    """
    door.require_local(request)
    if query.sid is None:
        connection = connections.add(caller, query.tabId)
        if caller is not None:
            trail.resource = query.tabId
            await trail.keep()
        return _text(_opened(connection, ["websocket"]))
    connection = connections.find(query.sid, caller)
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
    return _text(packets.SEPARATOR.join(taken))


async def post_packets(
    query: PollQuery, caller: Caller | None, request: Request, door: Door, connections: Connections
) -> Response:
    """Send packets by Socket.IO."""
    door.require_local(request)
    connection = connections.find(query.sid or "", caller)
    body = await read_body(request, BODY_BYTES_MAX)
    try:
        for kind, text in packets.split(body.decode()):
            await connection.receive(kind, text)
    except (BadPacket, UnicodeDecodeError) as error:
        connection.close()
        raise BadRequest("The body does not consist of Engine.IO packets.") from error
    return _text("ok")


async def serve_packets(
    websocket: WebSocket, caller: Caller | None, door: Door, connections: Connections, trail: Trail
) -> None:
    """Serve a client over a WebSocket, from the start or after it has polled."""
    door.require_local(websocket)
    sid, tab = websocket.query_params.get("sid"), websocket.query_params.get("tabId", "1")
    query = valid(PollQuery.model_validate, {"EIO": "4", "sid": sid, "tabId": tab})
    connection = connections.find(sid, caller) if sid else connections.add(caller, query.tabId)
    try:
        trail.resource = connection.tab
        if caller is not None:
            await trail.keep()
        await websocket.accept()
        if sid is None:
            await websocket.send_text(_opened(connection, []))
            connection.is_upgraded = True
        else:
            await _upgrade(websocket, connection)
        await _both_ways(websocket, connection)
    except (BadPacket, TimeoutError):
        await websocket.close(Close.BAD_MESSAGE, "not Engine.IO")
    except WebSocketDisconnect:
        pass
    finally:
        connection.close()


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


def _opened(connection: Connection, upgrades: list[str]) -> str:
    return packets.opened(connection.sid, upgrades, PING_SECONDS, TIMEOUT_SECONDS)


def _text(content: str) -> Response:
    return Response(content, headers=HEADERS, media_type="text/plain; charset=utf-8")
