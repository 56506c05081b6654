"""One Socket.IO client: the queue of packets to it, the heartbeat, and the terminal that it shows."""

import asyncio
import codecs
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from services.terminal.protocol import COLUMNS, ROWS, Close, Hello
from services.terminal.session import Session
from services.terminal.socketio import packets
from services.terminal.socketio.packets import BadPacket, Event, Kind
from services.terminal.viewers import Viewer
from shared.errors import Problem
from shared.process.tasks import end

PING_SECONDS, TIMEOUT_SECONDS = 25.0, 20.0
QUEUE_CHARACTERS_MAX = 256 * 1024
INPUT_BYTES_MAX = 64 * 1024
RESET_SCREEN = "\x1bc"
UNAUTHORIZED = "Unauthorized"

Open = Callable[[str, int, int], Awaitable[Session]]


class Connection:
    """A client, over whichever transport it uses at the moment; without an owner it is only refused."""

    def __init__(
        self, owner: str | None, tab: str, open_terminal: Open, *, may_write: bool, hold_seconds: float
    ) -> None:
        self.sid = secrets.token_urlsafe(20)
        self.owner, self.tab = owner, tab
        self._open_terminal, self._may_write, self._hold = open_terminal, may_write, hold_seconds
        self._queue: deque[str] = deque()
        self._queued = 0
        self.wake = asyncio.Event()  # a packet was queued, or the connection was closed
        self._room = asyncio.Event()
        self._room.set()
        self.is_closed = self.is_ending = self.is_polled = self.is_upgrading = self.is_upgraded = False
        self._is_connected = self._has_left = False
        self._viewer: Viewer | None = None
        self._session: Session | None = None
        self._early = b""  # what was typed before the terminal was open
        self._tasks: list[asyncio.Task[None]] = [asyncio.create_task(self._beat(), name="socketio: ping")]
        self._heard = asyncio.Event()
        self.on_close: Callable[[], None] = lambda: None

    # Packets to the client.

    def send(self, packet: str) -> None:
        self._queue.append(packet)
        self._queued += len(packet)
        if self._queued >= QUEUE_CHARACTERS_MAX:
            self._room.clear()
        self.wake.set()

    def emit(self, name: str, **data: Any) -> None:
        self.send(packets.event(name, data))

    def take(self, most: int = packets.PACKETS_MAX) -> list[str]:
        """Return the queued packets; the transport sends them."""
        taken = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
        self._queued -= sum(map(len, taken))
        if self._queued < QUEUE_CHARACTERS_MAX:
            self._room.set()
        if not self._queue:
            self.wake.clear()
        return taken

    # Packets from the client.

    async def receive(self, kind: Kind, text: str) -> None:
        """Process a packet; raises BadPacket."""
        self._heard.set()
        if kind == Kind.CLOSE:
            self._has_left = True
            self.close()
        elif kind == Kind.MESSAGE:
            await self._receive_message(text)
        elif kind not in (Kind.PONG, Kind.NOOP):
            raise BadPacket("unexpected packet")

    async def _receive_message(self, text: str) -> None:
        kind, rest = text[:1], text[1:]
        if kind == packets.CONNECT:
            self._connect(rest)
        elif kind == packets.DISCONNECT:
            self._has_left = True
            self.close()
        elif kind == packets.EVENT and self._is_connected:
            await self._obey(packets.read_event(rest))
        else:
            raise BadPacket("unexpected message")

    def _connect(self, rest: str) -> None:
        if rest.startswith("/"):
            raise BadPacket("only the main namespace is supported")
        if self._is_connected:
            raise BadPacket("the client is connected already")
        self.send(packets.connected(self.sid))
        self._is_connected = True
        if self.owner is None:
            self._refuse(UNAUTHORIZED)

    def _refuse(self, message: str) -> None:
        self.emit("error", message=message)
        self.end()

    def end(self) -> None:
        """Disconnect the client; the transport closes the connection once it has sent what is queued."""
        self.send(packets.disconnected())
        self.is_ending = True

    async def _obey(self, event: Event) -> None:
        if event.name == "resize":
            await self._resize(event.data.get("rows"), event.data.get("cols"))
        elif event.name == "pty-input":
            self._input(event.data.get("input"))

    async def _resize(self, rows: object, columns: object) -> None:
        if type(rows) is not int or rows not in ROWS or type(columns) is not int or columns not in COLUMNS:
            return
        if self._session is not None and self._viewer is not None:
            self._session.resize(self._viewer, rows, columns)
        elif self._viewer is None and self.owner is not None:
            self._viewer = Viewer(self._may_write, rows, columns)
            self._tasks.append(asyncio.create_task(self._show(self._viewer), name="socketio: output"))

    def _input(self, text: object) -> None:
        if self._viewer is None or not isinstance(text, str):
            return
        data = text.encode("utf-8", "replace")
        if self._session is None:  # the terminal is being opened
            self._early = (self._early + data)[:INPUT_BYTES_MAX]
            return
        for start in range(0, len(data), INPUT_BYTES_MAX):
            self._session.input(self._viewer, data[start : start + INPUT_BYTES_MAX])

    # The terminal.

    async def _show(self, viewer: Viewer) -> None:
        """Open the tab's terminal at the first size, and send its output until either ends."""
        try:
            session = await self._open_terminal(self.tab, viewer.rows, viewer.columns)
        except Problem as problem:
            self._refuse(problem.detail)
            return
        try:
            await session.join(viewer, Hello(viewer.rows, viewer.columns, None))
            self._session = session
            self.emit("pty-output", output=RESET_SCREEN)
            if self._early:
                session.input(viewer, self._early)
            await self._pump(session, viewer)
        except TimeoutError:
            self._refuse("The shell does not respond.")
        finally:
            self._session = None
            session.leave(viewer, 0.0 if self._has_left else self._hold)

    async def _pump(self, session: Session, viewer: Viewer) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while not self.is_closed:
            viewer.wake.clear()
            viewer.controls.clear()  # sizes and leaders have no event in this protocol
            if viewer.closing is not None:
                self.end()
                return
            await self._room.wait()
            piece = await session.next_piece(viewer)
            if piece:
                viewer.sent += len(piece)
                if viewer.replay_to is not None and viewer.sent >= viewer.replay_to:
                    viewer.replay_to = None
                session.ack(viewer, viewer.sent)  # the queue is the window
                self.emit("pty-output", output=decoder.decode(piece))
            elif session.is_read_by(viewer):
                self.emit("terminal-restart-required")
                self.end()
                return
            elif not viewer.controls:
                await viewer.wake.wait()

    # The life cycle.

    async def _beat(self) -> None:
        """Ping the client, and close the connection when it does not respond."""
        while not self.is_closed:
            await asyncio.sleep(PING_SECONDS)
            self._heard.clear()
            self.send(Kind.PING)
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    await self._heard.wait()
            except TimeoutError:
                self.close()

    def close(self) -> None:
        """Close the connection; its tasks end in the background."""
        if self.is_closed:
            return
        self.is_closed = True
        self._room.set()
        self.wake.set()
        if self._viewer is not None:
            self._viewer.close(Close.ENDED, "the client has left")
        self.on_close()

    async def finish(self) -> None:
        """Close the connection and wait for its tasks."""
        self.close()
        with suppress(asyncio.CancelledError):
            await end([task for task in self._tasks if task is not asyncio.current_task()])
