"""A session between a holder and its viewers, without sockets: which output is sent at once."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from services.terminal.holder.wire import CHUNK_HEAD, OFFSET
from services.terminal.output import AT_ONCE
from services.terminal.protocol import Hello
from services.terminal.session import Session
from services.terminal.viewers import WINDOW_BYTES, Viewer


class Holder:
    """The holder of a shell that has printed nothing yet."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.printed = 0
        self.typed: list[bytes] = []
        session.attach(self, {"base": 0, "head": 0})

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        if kind == b"S":
            self._session.receive(b"D", OFFSET.pack(self.printed))
        elif kind == b"I":
            self.typed.append(payload)
        elif kind == b"G":
            request = int.from_bytes(payload[:4], "big")
            self._session.receive(b"C", CHUNK_HEAD.pack(request, 0, 0) + b"\0")

    def prints(self, data: bytes) -> None:
        self._session.receive(b"D", OFFSET.pack(self.printed) + data)
        self.printed += len(data)


class Client:
    """A viewer whose writer waits, as it does once it has sent everything."""

    def __init__(self) -> None:
        self.viewer = Viewer(may_write=True)
        self.viewer.send_directly = self._send
        self.received: list[bytes] = []
        self.takes = True

    def _send(self, data: bytes) -> bool:
        if self.takes:
            self.received.append(data)
        return self.takes

    def is_ready(self) -> None:
        self.viewer.replay_to, self.viewer.is_waiting = None, True
        self.viewer.controls.clear()
        self.viewer.wake.clear()


@pytest.fixture
async def session() -> AsyncIterator[Session]:
    made = Session("terminal", "ann", "epoch", 24, 80)
    yield made
    for viewer in [*made.viewers]:
        made.leave(viewer, 0.0)


async def joined(session: Session) -> tuple[Holder, Client]:
    holder, client = Holder(session), Client()
    await session.join(client.viewer, Hello(24, 80, None))
    client.is_ready()
    return holder, client


async def test_output_is_sent_at_once_to_a_viewer_that_has_everything_before_it(session: Session) -> None:
    holder, client = await joined(session)
    holder.prints(b"a")
    holder.prints(b"bc")
    assert client.received == [OFFSET.pack(0) + b"a", OFFSET.pack(1) + b"bc"]
    assert client.viewer.sent == 3
    assert not client.viewer.wake.is_set()


@pytest.mark.parametrize(
    "change",
    [
        lambda client: setattr(client.viewer, "is_waiting", False),
        lambda client: client.viewer.tell("notice"),
        lambda client: setattr(client.viewer, "replay_to", 10),
        lambda client: setattr(client.viewer, "acked", -WINDOW_BYTES),
        lambda client: setattr(client, "takes", False),
    ],
    ids=["writer is busy", "a message comes first", "replay", "window is full", "client is slow"],
)
async def test_output_is_left_to_the_writer_if_something_else_comes_first(
    session: Session, change: Callable[[Client], Any]
) -> None:
    holder, client = await joined(session)
    change(client)
    holder.prints(b"a")
    assert client.received == []
    assert client.viewer.sent == 0
    assert client.viewer.wake.is_set()


async def test_stream_of_output_is_left_to_the_writer_until_someone_types(session: Session) -> None:
    holder, client = await joined(session)
    for _ in range(AT_ONCE + 1):
        holder.prints(b"a")
    assert len(client.received) == AT_ONCE
    client.viewer.sent = holder.printed  # the writer has sent the rest
    client.viewer.wake.clear()
    session.input(client.viewer, b"x")
    holder.prints(b"x")
    assert client.received[AT_ONCE:] == [OFFSET.pack(AT_ONCE + 1) + b"x"]
