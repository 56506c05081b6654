"""A socket between a client and a session, on a real server but without a shell."""

import asyncio
import json
from typing import Any

import websockets
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from services.terminal.session import Session
from services.terminal.viewers import Viewer
from services.terminal.viewing import converse, take
from tests.shared.work.served import served
from tests.terminal.test_session import Holder

SECONDS = 20
HELLO = json.dumps({"type": "hello", "rows": 24, "cols": 80, "resume": None})
ACK = json.dumps({"type": "ack", "offset": 0})


class Door:
    """An endpoint whose handler is cancelled, as after a revocation; it closes the socket later."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.viewer = Viewer(may_write=True)
        self.serving: asyncio.Task[Any] | None = None
        self.revoked = asyncio.Event()
        self.late: list[str | bytes] = []

    async def serve(self, websocket: WebSocket) -> None:
        await websocket.accept()
        self.serving = asyncio.current_task()
        try:
            await converse(websocket, self._session, self.viewer, hold_seconds=0.0)
        except asyncio.CancelledError:
            self.revoked.set()
        for _ in range(3):
            message = await websocket.receive()
            self.late.append(message.get("text") or message["bytes"])
        await websocket.close(4401)


async def test_what_a_revoked_viewer_still_sends_does_not_reach_the_session() -> None:
    session = Session("terminal", "ann", "epoch", 24, 80)
    holder, door = Holder(session), Door(session)
    app = Starlette(routes=[WebSocketRoute("/", door.serve)])
    async with asyncio.timeout(SECONDS), served(app, websockets="direct") as (_, client):
        address = str(client.base_url).replace("http", "ws", 1)
        async with websockets.connect(address, proxy=None) as socket:
            await socket.send(HELLO)
            await socket.send(b"before")
            while holder.typed != [b"before"]:
                await socket.send(json.dumps({"type": "ping", "time": 1}))
                await socket.recv()
            assert door.serving is not None
            door.serving.cancel()
            await door.revoked.wait()
            for message in (b"a", ACK, b"b"):
                await socket.send(message)
            await socket.wait_closed()

    assert holder.typed == [b"before"]
    assert (session.leader, session.viewers) == (None, set())
    assert (door.late, socket.close_code) == ([b"a", ACK, b"b"], 4401)


def test_message_of_a_viewer_that_has_left_changes_nothing() -> None:
    session = Session("terminal", "ann", "epoch", 24, 80)
    holder, viewer = Holder(session), Viewer(may_write=True)
    take(session, viewer, b"typed")
    take(session, viewer, ACK)
    session.ack(viewer, 0)

    assert (holder.typed, session.leader, viewer.closing) == ([], None, None)
