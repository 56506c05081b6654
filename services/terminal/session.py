"""One live terminal: its holder, its viewers, and the leader among them, who sets pace and size.

The holder keeps the output. The session caches only the newest part; a viewer that lags further behind
fetches from the holder. The leader's acknowledgements advance the limit up to which the holder pushes. A
little beyond that limit the holder stops reading from the shell, so a program cannot outrun its reader.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from services.terminal.holder.wire import (
    CHUNK_HEAD,
    GET,
    NO_LIMIT,
    NUMBER,
    OFFSET,
    PIECE_BYTES,
    SIZE,
    FrameError,
)
from services.terminal.output import Tail
from services.terminal.protocol import Close, Hello, ProtocolError, write_data
from services.terminal.replays import first_line
from services.terminal.viewers import WINDOW_BYTES, Chunk, Exit, Link, Viewer

LAG_BYTES = 1024 * 1024  # a viewer that lags further behind skips to the end, unless it leads
RESIZE_SECONDS = 0.05
FETCH_SECONDS = 10.0


class Session:
    """One terminal, from the start of its holder until its shell has ended and all viewers have seen it."""

    def __init__(self, terminal_id: str, owner: str, epoch: str, rows: int, columns: int) -> None:
        self.id, self.owner, self.epoch = terminal_id, owner, epoch
        self.rows, self.columns = rows, columns
        self.linked = asyncio.Event()
        self.ended = asyncio.Event()
        self.viewers: set[Viewer] = set()
        self.leader: Viewer | None = None
        self.exit: Exit | None = None
        self.directory = self.command = ""
        self.last_output = 0.0  # event-loop time; set when the session is registered
        self.head = self.base = 0
        self.on_end: Callable[[Session], None] = lambda _: None
        self._link: Link | None = None
        self._tail = Tail()
        self._follows = False
        self._followed = asyncio.Event()
        self._limit = NO_LIMIT
        self._chunks: dict[int, asyncio.Future[Chunk]] = {}
        self._request = 0
        self._resizing: asyncio.TimerHandle | None = None
        self._releasing: asyncio.TimerHandle | None = None
        self._wants_size: tuple[int, int] | None = None

    # Holder side.

    def attach(self, link: Link, hello: dict[str, Any]) -> None:
        """Attach a holder that connected; an earlier process may have started it."""
        base, head = hello["base"], hello["head"]
        if (
            type(base) is not int
            or type(head) is not int
            or not self.base <= base <= head
            or head < self.head
        ):
            raise FrameError("the holder's offsets went backwards")
        self.base, self.head, self._link = base, head, link
        self._follows, self._limit = False, NO_LIMIT
        self.linked.set()
        if self.viewers:
            self._set_pace()
            self._follow()
        if self._wants_size:
            self._send_size()

    def detach(self, link: Link) -> None:
        if self._link is not link:
            return
        self._link, self._follows = None, False
        self.linked.clear()
        self._followed.clear()
        for waiting in self._chunks.values():
            waiting.cancel()
        self._chunks.clear()

    def receive(self, kind: bytes, payload: bytes) -> None:
        """Process a frame from the holder, which is not trusted."""
        if kind == b"D":
            self._receive_data(payload)
        elif kind == b"C":
            self._receive_chunk(payload)
        elif kind == b"P":
            self._receive_state(payload)
        elif kind == b"X":
            self._receive_exit(payload)
        elif kind == b"O" and self.leader is not None:
            self.leader.close(Close.TOO_LARGE, "the program does not read its input")
        elif kind != b"O":
            raise FrameError("unknown kind of frame")

    def _receive_data(self, payload: bytes) -> None:
        (offset,) = OFFSET.unpack_from(payload)
        data = payload[OFFSET.size :]
        if offset < self._tail.end and self._followed.is_set():
            raise FrameError("data was sent twice")
        self._tail.append(offset, data)
        self.head = max(self.head, self._tail.end)
        self._note_output(bool(data))
        self._followed.set()
        self._pass_on(offset, data)

    def _pass_on(self, offset: int, data: bytes) -> None:
        """Send new output to the viewers that have all before it, and wake the writers of the others."""
        now = asyncio.get_running_loop().time()
        for viewer in self.viewers:
            ready = data and viewer.may_receive(offset, len(data), now)
            if ready and viewer.send_directly(write_data(offset, data)):
                viewer.sent += len(data)
                viewer.pace.note(now)
            else:
                viewer.wake.set()

    def _receive_chunk(self, payload: bytes) -> None:
        request, base, offset = CHUNK_HEAD.unpack_from(payload)
        flag, data = payload[CHUNK_HEAD.size : CHUNK_HEAD.size + 1], payload[CHUNK_HEAD.size + 1 :]
        self.base = max(self.base, base)
        waiting = self._chunks.pop(request, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(Chunk(base, offset, flag == b"\1", data))

    def _receive_state(self, payload: bytes) -> None:
        state = json.loads(payload)
        head = state["head"]
        if type(head) is not int or head < self.head:
            raise FrameError("the holder's offsets went backwards")
        self._note_output(head > self.head)
        self.head, self.base = head, max(self.base, int(state["base"]))
        self.directory, self.command = str(state["directory"]), str(state["command"])

    def _receive_exit(self, payload: bytes) -> None:
        exit_ = Exit.reported(json.loads(payload))
        if exit_.head < self.head:
            raise FrameError("the holder's offsets went backwards")
        self.end(exit_)

    def end(self, exit_: Exit) -> None:
        """Record that the shell has ended; viewers are notified once this is in the database."""
        if self.exit is None:
            self.exit = exit_
            self.on_end(self)

    def note_end(self) -> None:
        """Confirm that the end is in the database; the holder may quit once no viewer is left."""
        self.ended.set()
        self._wake_all()
        self._quit_when_read()

    def _note_output(self, is_output: bool) -> None:
        if is_output:
            self.last_output = asyncio.get_running_loop().time()

    def _quit_when_read(self) -> None:
        if self.ended.is_set() and not self.viewers:
            self._send(b"Q")

    def _send(self, kind: bytes, payload: bytes = b"") -> None:
        if self._link is not None:
            self._link.send(kind, payload)

    async def fetch(self, offset: int, length: int = PIECE_BYTES) -> Chunk:
        """Fetch output from the holder, waiting for it to reconnect if necessary."""
        async with asyncio.timeout(FETCH_SECONDS):
            while True:
                await self.linked.wait()
                self._request = (self._request + 1) % 2**32
                answer: asyncio.Future[Chunk] = asyncio.get_running_loop().create_future()
                self._chunks[self._request] = answer
                self._send(b"G", GET.pack(self._request, offset, length))
                await asyncio.wait([answer])
                if not answer.cancelled():
                    return answer.result()

    # Viewer side.

    async def join(self, viewer: Viewer, hello: Hello) -> None:
        """Add a viewer, and send it the position at which its output begins."""
        self._cancel_release()
        self.viewers.add(viewer)
        if viewer.may_write and self.leader is None:
            self._lead(viewer)
        self._follow()
        async with asyncio.timeout(FETCH_SECONDS):
            await self._followed.wait()
        resume = hello.resume if hello.resume and hello.resume.epoch == self.epoch else None
        if resume is not None and resume.offset > self.head:
            raise ProtocolError("resume.offset is beyond the end of the output")
        first = await self.fetch(resume.offset if resume else self.base, 0)
        if resume is not None and first.base <= resume.offset:
            await self._begin(viewer, "tail", resume.offset)
        else:
            await self._begin(viewer, "ring", None)

    async def _begin(self, viewer: Viewer, kind: str, start: int | None) -> None:
        is_alternate = False
        if start is None:
            found, is_alternate = await first_line(self.fetch, self.base)
            start = self.head if found is None else found
        viewer.sent = viewer.acked = start
        viewer.replay_to = self.head
        if viewer is self.leader:
            self._set_pace()
        viewer.tell(
            "hello",
            session=self.id,
            epoch=self.epoch,
            base=self.base,
            head=self.head,
            rows=self.rows,
            cols=self.columns,
            leader=viewer is self.leader,
            mode="rw" if viewer.may_write else "ro",
        )
        truncated = kind == "ring" and self.base > 0
        fields = {"from": start, "to": self.head, "kind": kind}  # `from` is a Python keyword
        viewer.tell("replay", **fields, truncated=truncated, alternate=is_alternate)
        if is_alternate:
            self._nudge()

    def leave(self, viewer: Viewer, hold_seconds: float) -> None:
        """Remove a viewer. If the last writer's connection was lost, output is held for a while."""
        self.viewers.discard(viewer)
        if self.leader is viewer:
            self.leader = None
            writing = [one for one in self.viewers if one.may_write]
            if writing:
                self._lead(writing[0])
        if self.leader is None:
            self._cancel_release()
            loop = asyncio.get_running_loop()
            if hold_seconds and self.exit is None:
                self._releasing = loop.call_later(hold_seconds, self._release)
            else:
                self._release()
        self._quit_when_read()

    def _release(self) -> None:
        """Stop limiting output, as there is no leader; the holder then drops the oldest bytes."""
        self._releasing = None
        if self.viewers:
            self._set_pace()
        else:
            self._limit, self._follows = NO_LIMIT, False
            self._followed.clear()
            self._tail.begin(self._tail.end)
            self._send(b"F")

    def _cancel_release(self) -> None:
        if self._releasing is not None:
            self._releasing.cancel()
            self._releasing = None

    def ack(self, viewer: Viewer, offset: int) -> None:
        if offset > viewer.sent:
            raise ProtocolError("ack.offset is beyond the bytes that were sent")
        if offset < viewer.acked or viewer not in self.viewers:
            return  # sent before the client learnt that it was moved to the end, or by a client that left
        viewer.acked = offset
        viewer.wake.set()
        if viewer is self.leader:
            self._set_pace()
        self._tail.forget_before(min(one.sent for one in self.viewers))

    def input(self, viewer: Viewer, data: bytes) -> None:
        if not viewer.may_write:
            viewer.tell("notice", code="read_only", message="You may watch this terminal but not type in it.")
            return
        if viewer is not self.leader:
            self._lead(viewer)
        viewer.pace.expect_echo()
        self._send(b"I", data)

    def signal(self, viewer: Viewer, number: int) -> None:
        if viewer.may_write:
            self._send(b"K", NUMBER.pack(number))
        else:
            viewer.tell(
                "notice", code="read_only", message="You may watch this terminal but not send signals to it."
            )

    def signal_foreground(self, number: int) -> None:
        self._send(b"K", NUMBER.pack(number))

    def hang_up(self, grace_seconds: float) -> None:
        self._send(b"E", NUMBER.pack(int(grace_seconds * 1000)))

    def claim(self, viewer: Viewer) -> None:
        if viewer.may_write and viewer is not self.leader:
            self._lead(viewer)

    def _lead(self, viewer: Viewer) -> None:
        before, self.leader = self.leader, viewer
        if before is not None:
            before.tell("lead", leader=False)
            viewer.tell("lead", leader=True)
        self.resize(viewer, viewer.rows, viewer.columns)
        self._set_pace()

    def resize(self, viewer: Viewer, rows: int, columns: int) -> None:
        """Apply the leader's size; rapid changes are coalesced, and other viewers' sizes are only stored."""
        viewer.rows, viewer.columns = rows, columns
        if viewer is not self.leader or (rows, columns) == (self._wants_size or (self.rows, self.columns)):
            return
        self._wants_size = (rows, columns)
        if self._resizing is None:
            self._send_size()
            self._resizing = asyncio.get_running_loop().call_later(RESIZE_SECONDS, self._resized)

    def _resized(self) -> None:
        self._resizing = None
        if self._wants_size is not None:
            self._send_size()
            self._resizing = asyncio.get_running_loop().call_later(RESIZE_SECONDS, self._resized)

    def _send_size(self) -> None:
        if self._wants_size is None or self._link is None:
            return
        self.rows, self.columns = self._wants_size
        self._wants_size = None
        self._send(b"R", SIZE.pack(self.rows, self.columns))
        for one in self.viewers:
            one.tell("size", rows=self.rows, cols=self.columns)

    def _nudge(self) -> None:
        """Change the size briefly to make a full-screen program redraw."""
        rows = self.rows
        self._send(b"R", SIZE.pack(rows - 1 if rows > 1 else 2, self.columns))
        self._wants_size = (rows, self.columns)
        if self._resizing is None:
            self._resizing = asyncio.get_running_loop().call_later(RESIZE_SECONDS, self._resized)

    # Output to a viewer.

    async def next_piece(self, viewer: Viewer) -> bytes:
        """Return the next bytes that may be sent to the viewer now."""
        is_behind = viewer is not self.leader and viewer.replay_to is None
        if is_behind and self.head - viewer.sent > LAG_BYTES:
            await self._skip(viewer)
        room = min(PIECE_BYTES, WINDOW_BYTES - (viewer.sent - viewer.acked))
        if room <= 0 or viewer.sent >= self.head or viewer.controls:
            return b""
        if self._tail.start <= viewer.sent < self._tail.end:
            return self._tail.read(viewer.sent, room)
        chunk = await self.fetch(viewer.sent, room)
        if chunk.base > viewer.sent:
            await self._skip(viewer)
        return chunk.data

    async def _skip(self, viewer: Viewer) -> None:
        """Move a viewer that lags too far behind to the end of the output."""
        before = viewer.sent
        await self.fetch(self.base, 0)
        start = self.head
        viewer.sent = viewer.acked = start
        viewer.replay_to = None
        viewer.tell("skipped", bytes=start - before, offset=start)
        if viewer is self.leader:
            self._set_pace()

    def is_read_by(self, viewer: Viewer) -> bool:
        """Whether the shell has ended and all its output was sent to the viewer."""
        if self.exit is None or not self.ended.is_set():
            return False
        return self.exit.is_lost or viewer.sent >= self.exit.head

    def _follow(self) -> None:
        if self._link is not None and not self._follows:
            self._follows = True
            self._send(b"S")

    def _set_pace(self) -> None:
        limit = self.leader.acked + WINDOW_BYTES if self.leader else NO_LIMIT
        if limit != self._limit and self._link is not None:
            self._limit = limit
            self._send(b"L", OFFSET.pack(limit))

    def _wake_all(self) -> None:
        for viewer in self.viewers:
            viewer.wake.set()
