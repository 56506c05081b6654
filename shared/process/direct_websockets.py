"""uvicorn's WebSocket protocol, with a short way for sockets that have to respond at once.

A message usually passes a queue and a task in each direction, and reading stops until the handler has taken
it. A handler may instead receive messages where they are parsed, and send where it is called.
"""

from collections.abc import Callable
from typing import Any, cast

from starlette.types import Scope
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.http11 import Request

DIRECT = "gatehouse.direct_websocket"  # key of the ASGI scope

Receiver = Callable[[str | bytes], None]


class DirectWebSocket(WebSocketsSansIOProtocol):
    """One connection. Only `receive_directly` and `send_directly` differ from uvicorn's own class."""

    _receiver: Receiver | None = None

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.handshake_complete:  # otherwise it was refused, and nothing is going to be called
            cast("dict[str, Any]", self.scope)[DIRECT] = self

    def receive_directly(self, receiver: Receiver) -> None:
        """Pass messages to this function until `receive_by_queue`; the disconnection is still queued."""
        self._receiver = receiver
        rest = [self.queue.get_nowait() for _ in range(self.queue.qsize())]
        for event in rest:
            if event["type"] == "websocket.receive":
                text, data = event.get("text"), event.get("bytes")
                receiver(text if text is not None else data or b"")
            else:
                self.queue.put_nowait(event)
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    def receive_by_queue(self) -> None:
        """Stop passing messages directly: whoever handles the socket from now on may receive them."""
        self._receiver = None

    def send_receive_event_to_app(self) -> None:
        if self._receiver is None or self.close_sent:
            super().send_receive_event_to_app()
            return
        data = b"".join(self.frames)
        try:
            message = data.decode() if self.curr_msg_data_type == "text" else data
        except UnicodeDecodeError:
            super().send_receive_event_to_app()  # closes the connection
            return
        self.frames = []
        self._receiver(message)

    def send_directly(self, data: bytes) -> bool:
        """Send a binary message, unless that has to wait; return whether it was sent."""
        if not self.writable.is_set() or self.close_sent or self.disconnected:
            return False
        try:
            self.conn.send_binary(data)
        except InvalidState:  # the client has sent its close frame
            return False
        self.transport.write(b"".join(self.conn.data_to_send()))
        return True


def direct(scope: Scope) -> DirectWebSocket | None:
    """Return the connection of this scope; None with another server, such as that of tests."""
    found: DirectWebSocket | None = scope.get(DIRECT)
    return found
