"""Handlers for Socket.IO: long polling, and the WebSocket that clients switch to."""

from typing import Literal

from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from services.terminal.access import Door
from services.terminal.schemas import Tab
from services.terminal.socketio import transport
from services.terminal.socketio.connections import Connections
from services.terminal.socketio.packets import BadPacket
from shared.caller import Caller
from shared.errors import BadRequest
from shared.http.inputs import read_body, valid
from shared.http.schemas import Query
from shared.http.trail import Trail

BODY_BYTES_MAX = 1024 * 1024
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
        return _text(transport.opened(connection, ["websocket"]))
    return _text(await transport.poll(connections.find(query.sid, caller)))


async def post_packets(
    query: PollQuery, caller: Caller | None, request: Request, door: Door, connections: Connections
) -> Response:
    """Send packets by Socket.IO."""
    door.require_local(request)
    connection = connections.find(query.sid or "", caller)
    body = await read_body(request, BODY_BYTES_MAX)
    try:
        await transport.post(connection, body)
    except BadPacket as error:
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
        await transport.serve(websocket, connection, is_new=sid is None)
    finally:
        connection.close()


def _text(content: str) -> Response:
    return Response(content, headers=HEADERS, media_type="text/plain; charset=utf-8")
