"""A backend that accepts only what RFC 9112 allows senders to generate, and logs what it sees.

It writes one JSON line per request: id, method, target, length of the body, and whether it arrived complete.
Anything that is not exactly a request, byte by byte, is logged as `malformed`.
"""

import asyncio
import json
import re
from dataclasses import dataclass
from typing import cast

_HEAD = re.compile(
    rb"(?P<method>[A-Z]+) (?P<target>/[!-~]*) HTTP/1\.1\r\n"
    rb"(?P<fields>(?:[!#$%&'*+.^_`|~0-9a-z-]+: ?[\t -~\x80-\xff]*\r\n)*)\r\n"
)
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,18}")
_CHUNK = re.compile(rb"(0|[1-9a-f][0-9a-f]{0,15})\r\n")
# Hop-by-hop names, and names that some parsers treat as a different name.
_NEVER = re.compile(rb"te|trailer|keep-alive|proxy-.*|http2-settings|.*_.*")
_ONCE = (b"host", b"content-length", b"transfer-encoding", b"x-request-id", b"connection", b"upgrade")


class Malformed(Exception):
    """The input is not a request, or it is ambiguous."""


@dataclass
class Head:
    """The parsed request line and fields."""

    method: str
    target: str
    request_id: str
    length: int | None  # None: chunked
    switches: bool

    @classmethod
    def read(cls, block: bytes) -> "Head":
        match = _HEAD.fullmatch(block)
        if match is None:
            raise Malformed(block)
        lines = match["fields"].split(b"\r\n")[:-1]
        fields = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        found = dict(fields)
        names = [name for name, _ in fields]
        if any(names.count(name) > 1 for name in _ONCE) or b"host" not in found:
            raise Malformed(block)
        if any(map(_NEVER.fullmatch, names)):
            raise Malformed(block)
        return cls(
            match["method"].decode(),
            match["target"].decode(),
            found.get(b"x-request-id", b"").decode(),
            _length(found),
            b"upgrade" in found and found.get(b"connection") == b"upgrade",
        )


def _length(fields: dict[bytes, bytes]) -> int | None:
    length, coding = fields.get(b"content-length"), fields.get(b"transfer-encoding")
    if coding is not None:
        if length is not None or coding != b"chunked":
            raise Malformed(coding)
        return None
    if length is not None and not _LENGTH.fullmatch(length):
        raise Malformed(length)
    return int(length or 0)


class Recorder(asyncio.Protocol):
    """One connection from the gateway."""

    def __init__(self) -> None:
        self._unread = b""
        self._head: Head | None = None
        self._body_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        try:
            while self._take():
                pass
        except Malformed as error:
            say(malformed=repr(error))
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._head is not None:
            self._tell(self._head, whole=False)

    def _take(self) -> bool:
        """Read the next part if it has arrived completely."""
        if self._head is None:
            return self._take_head()
        if self._head.length is None:
            return self._take_chunk(self._head)
        if len(self._unread) < self._head.length:
            return False
        self._unread = self._unread[self._head.length :]
        self._body_bytes = self._head.length
        self._answer(self._head)
        return True

    def _take_head(self) -> bool:
        end = self._unread.find(b"\r\n\r\n")
        if end < 0:
            if not re.match(rb"[A-Z]{0,20}(?: |$)", self._unread):
                raise Malformed(self._unread)
            return False
        block, self._unread = self._unread[: end + 4], self._unread[end + 4 :]
        self._head, self._body_bytes = Head.read(block), 0
        return True

    def _take_chunk(self, head: Head) -> bool:
        line_end = self._unread.find(b"\r\n") + 2
        if line_end < 2:
            return False
        size = _CHUNK.fullmatch(self._unread[:line_end])
        if size is None:
            raise Malformed(self._unread[:line_end])
        data_end = line_end + int(size[1], 16)
        if len(self._unread) < data_end + 2:
            return False
        if self._unread[data_end : data_end + 2] != b"\r\n":  # after the last chunk this means: no trailers
            raise Malformed(self._unread[line_end : data_end + 2])
        self._unread = self._unread[data_end + 2 :]
        self._body_bytes += data_end - line_end
        if data_end == line_end:
            self._answer(head)
        return True

    def _answer(self, head: Head) -> None:
        self._head = None
        self._tell(head, whole=True)
        if head.switches and head.target.startswith("/switch"):
            self._transport.set_protocol(Echo(self._transport))
            self._transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
            )
            self._transport.write(self._unread)
            return
        body = b"" if head.method == "HEAD" else b"seen\n"
        seen = f"{head.method} {head.target}"
        self._transport.write(
            f"HTTP/1.1 200 OK\r\nX-Seen: {seen}\r\nContent-Length: 5\r\n\r\n".encode() + body
        )

    def _tell(self, head: Head, *, whole: bool) -> None:
        say(id=head.request_id, method=head.method, target=head.target, body=self._body_bytes, whole=whole)


class Echo(asyncio.Protocol):
    """Echoes all bytes after a switch."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Recorder, "127.0.0.1", 0)
    say(port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
