"""The service's Unix sockets, to which the holders of each box connect."""

import asyncio
import json
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import structlog

from services.terminal.holder.wire import NUMBER, PROTOCOL, FrameError, Frames, frame
from services.terminal.session import Session

SOCKET_NAME = "link.sock"
HELLO_SECONDS = 5.0
CONNECTIONS_MAX = 64  # per box
UNREAD_BYTES_MAX = 4 << 20  # input that a holder has not read; programs in the box can stop it

log = structlog.get_logger(__name__)

Find = Callable[[str, str, str], Session | None]


class Links:
    """The sockets of all boxes.

    A socket's directory is writable only by the service and visible only in one box. A client of the socket
    therefore belongs to that box, and can only affect the terminals of that box.
    """

    def __init__(self, find: Find, lost: Callable[[Session], None]) -> None:
        self.find, self.lost = find, lost
        self._servers: dict[str, asyncio.Server] = {}
        self.connections: dict[str, set[HolderConnection]] = {}

    async def listen(self, box_id: str, folder: Path) -> None:
        if box_id in self._servers:
            return
        listening = bound(folder, SOCKET_NAME, CONNECTIONS_MAX)
        self.connections[box_id] = set()
        loop = asyncio.get_running_loop()
        self._servers[box_id] = await loop.create_unix_server(
            lambda: HolderConnection(self, box_id), sock=listening
        )

    def end(self, box_id: str) -> None:
        """Close the socket of a box that has ended; holders that are left quit."""
        for connection in self._unlisten(box_id):
            connection.end(0)

    def close(self) -> None:
        """Close the sockets of all boxes; their holders wait for the next process."""
        for box_id in tuple(self._servers):
            for connection in self._unlisten(box_id):
                connection.close()

    def _unlisten(self, box_id: str) -> "tuple[HolderConnection, ...]":
        server = self._servers.pop(box_id, None)
        if server is not None:
            server.close()
        return (*self.connections.pop(box_id, ()),)


def bound(folder: Path, name: str, waiting_max: int, *, for_boxes: bool = True) -> socket.socket:
    """Bind a socket in a directory whose path may exceed the kernel's limit of 107 bytes."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if for_boxes:  # a container's user is another one; other users cannot enter the parent directory
        folder.chmod(0o755)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=descriptor)  # left by an earlier process
        near = Path(f"/proc/self/fd/{descriptor}")
        path = (near if near.exists() else folder) / name
        listening.bind(str(path))
        path.chmod(0o666 if for_boxes else 0o600)
        listening.listen(waiting_max)
    except OSError:
        listening.close()
        raise
    finally:
        os.close(descriptor)
    listening.setblocking(False)
    return listening


def connected(folder: Path, name: str) -> socket.socket:
    """Connect to a socket in a directory whose path may exceed the kernel's limit."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        near = Path(f"/proc/self/fd/{descriptor}")
        connection.connect(str((near if near.exists() else folder) / name))
    except OSError:
        connection.close()
        raise
    finally:
        os.close(descriptor)
    connection.setblocking(False)
    return connection


class HolderConnection(asyncio.Protocol):
    """The connection of one holder."""

    def __init__(self, links: Links, box_id: str) -> None:
        self._links, self._box_id = links, box_id
        self._frames = Frames()
        self._session: Session | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        others = self._links.connections.get(self._box_id)
        if others is None or len(others) >= CONNECTIONS_MAX:
            self._transport.abort()
            return
        others.add(self)
        self._deadline = asyncio.get_running_loop().call_later(HELLO_SECONDS, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        try:
            for kind, payload in self._frames.feed(data):
                if self._session is None:
                    self._greet(kind, payload)
                else:
                    self._session.receive(kind, payload)
        except (FrameError, ValueError, KeyError, TypeError, struct.error) as error:
            log.warning("holder_refused", box_id=self._box_id, error=repr(error))
            self._transport.abort()

    def _greet(self, kind: bytes, payload: bytes) -> None:
        hello: Any = json.loads(payload)
        if kind != b"H" or hello["protocol"] != PROTOCOL:
            raise FrameError("not a hello of a known protocol version")
        session = self._links.find(self._box_id, str(hello["terminal"]), str(hello["epoch"]))
        if session is None:
            log.info("unknown_holder_ended", box_id=self._box_id)
            self.end(1000)
            return
        self._deadline.cancel()
        self._session = session
        session.attach(self, hello)

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        if self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > UNREAD_BYTES_MAX:
            log.warning("holder_does_not_read", box_id=self._box_id)
            self._transport.abort()
            return
        self._transport.write(frame(kind, payload))

    def end(self, grace_milliseconds: int) -> None:
        """Tell the holder to end its shell and then itself."""
        self.send(b"E", NUMBER.pack(grace_milliseconds))
        self.send(b"Q")
        self._transport.close()

    def close(self) -> None:
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if hasattr(self, "_deadline"):
            self._deadline.cancel()
        self._links.connections.get(self._box_id, set()).discard(self)
        if self._session is not None:
            self._session.detach(self)
            self._links.lost(self._session)
