"""Connects a WebSocket to a session: messages to the session, output to the client."""

import asyncio
from functools import partial
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from services.terminal import protocol
from services.terminal.holder.wire import PIECE_BYTES
from services.terminal.output import TAIL_BYTES_MAX
from services.terminal.protocol import Close, Hello, ProtocolError
from services.terminal.session import Session
from services.terminal.viewers import Viewer
from shared.process.direct_websockets import direct
from shared.process.tasks import end

HELLO_SECONDS = 5.0
LEFT = 1000  # the close code of a client that will not reconnect

assert TAIL_BYTES_MAX >= PIECE_BYTES


class Gone(Exception):
    """The client closed the socket or lost its connection."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code


async def converse(websocket: WebSocket, session: Session, viewer: Viewer, *, hold_seconds: float) -> None:
    """Serve one client from its hello until the socket closes."""
    held, has_joined = hold_seconds, False
    try:
        hello = await _hello(websocket)
        viewer.rows, viewer.columns, has_joined = hello.rows, hello.columns, True
        await session.join(viewer, hello)
        await _both_ways(websocket, session, viewer)
        held = 0.0
    except Gone as gone:
        held = 0.0 if gone.code == LEFT else hold_seconds
    except ProtocolError as error:
        held = 0.0
        await websocket.close(error.code, error.reason)
    except TimeoutError:
        await websocket.close(Close.TRY_AGAIN, "the shell does not respond")
    finally:
        if has_joined:
            session.leave(viewer, held)


async def _hello(websocket: WebSocket) -> Hello:
    try:
        async with asyncio.timeout(HELLO_SECONDS):
            message = await _receive(websocket)
    except TimeoutError as error:
        raise ProtocolError("no hello was received in time", Close.NO_HELLO) from error
    control = protocol.read_control(message) if isinstance(message, str) else None
    if not isinstance(control, Hello):
        raise ProtocolError("the first message must be hello", Close.NO_HELLO)
    return control


async def _both_ways(websocket: WebSocket, session: Session, viewer: Viewer) -> None:
    parts = [
        asyncio.create_task(_read(websocket, session, viewer)),
        asyncio.create_task(_write(websocket, session, viewer)),
    ]
    try:
        done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
    finally:
        _stop_receiving(websocket)  # first, because messages can arrive while the parts end
        await end(parts)
    for part in done:
        part.result()


async def _receive(websocket: WebSocket) -> str | bytes:
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        raise Gone(message.get("code", 1005))
    text: str | None = message.get("text")
    data: bytes | None = message.get("bytes")
    return text if text is not None else data or b""


async def _read(websocket: WebSocket, session: Session, viewer: Viewer) -> None:
    """Handle every message in the task that parses it: another task would delay each key."""
    take_ = partial(take, session, viewer)
    if (connection := direct(websocket.scope)) is not None:
        connection.receive_directly(take_)
        viewer.send_directly = connection.send_directly
    while True:
        take_(await _receive(websocket))


def _stop_receiving(websocket: WebSocket) -> None:
    if (connection := direct(websocket.scope)) is not None:
        connection.receive_by_queue()


def take(session: Session, viewer: Viewer, message: str | bytes) -> None:
    """Process a message, unless the viewer has left or is being closed: a revoked one may keep sending."""
    if viewer.closing is not None or viewer not in session.viewers:
        return
    if not isinstance(message, str) and len(message) > protocol.INPUT_BYTES_MAX:
        viewer.close(Close.TOO_LARGE, "an input frame may be at most 64 KiB")
        return
    try:
        if isinstance(message, str):
            _obey(protocol.read_control(message), session, viewer)
        elif message:
            session.input(viewer, message)
    except ProtocolError as error:
        viewer.close(error.code, error.reason)


def _obey(control: protocol.Control, session: Session, viewer: Viewer) -> None:
    match control:
        case protocol.Ack(offset):
            session.ack(viewer, offset)
        case protocol.Resize(rows, columns):
            session.resize(viewer, rows, columns)
        case protocol.Claim():
            session.claim(viewer)
        case protocol.Signal(number):
            session.signal(viewer, number)
        case protocol.Ping(time):
            viewer.tell("pong", time=time)
        case Hello():
            raise ProtocolError("hello was sent twice")


async def _write(websocket: WebSocket, session: Session, viewer: Viewer) -> None:
    """Send what the session does not send directly, in pieces as large as the pace makes them."""
    clock = asyncio.get_running_loop().time
    try:
        while True:
            viewer.wake.clear()
            while viewer.controls and viewer.closing is None:
                await websocket.send_text(viewer.controls.popleft())
            if viewer.closing is not None:
                await websocket.close(*viewer.closing)
                return
            if session.head - viewer.sent < PIECE_BYTES:
                await viewer.pace.until_due(clock())
            piece = await session.next_piece(viewer)
            if piece:
                offset, viewer.sent = viewer.sent, viewer.sent + len(piece)
                await websocket.send_bytes(protocol.write_data(offset, piece))
                viewer.pace.note(clock())
            if viewer.replay_to is not None and viewer.sent >= viewer.replay_to:
                viewer.tell("replay_end", offset=viewer.sent)
                viewer.replay_to = None
            elif session.is_read_by(viewer) and not viewer.controls:
                await _say_exit(websocket, session)
                return
            elif not piece:
                viewer.is_waiting = True
                await viewer.wake.wait()
                viewer.is_waiting = False
    except WebSocketDisconnect as error:
        raise Gone(error.code) from error


async def _say_exit(websocket: WebSocket, session: Session) -> None:
    assert session.exit is not None
    outcome: dict[str, Any] = {"code": session.exit.code, "signal": session.exit.signal}
    if session.exit.reason:
        outcome["reason"] = session.exit.reason
    await websocket.send_text(protocol.write_control("exit", **outcome, lost=session.exit.is_lost))
    await websocket.close(Close.ENDED, "the shell has ended")
