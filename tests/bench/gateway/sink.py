"""A backend that discards uploads and echoes WebSocket messages, neither of which nginx can do.

Both use one port: an upgrade request gets the echo, anything else is an upload.
"""

import asyncio
import base64
import hashlib
import os
import re
from typing import ClassVar, cast

import uvloop

BUFFER_BYTES = 1 << 20
HEAD_BYTES_MAX = 64 * 1024
MASK_BYTES = 4
SHORT_FRAME_BYTES_MAX = 125
_WEBSOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Sink(asyncio.BufferedProtocol):
    """Reads into one buffer shared by all connections, as its contents are discarded."""

    _buffer: ClassVar[bytearray] = bytearray(BUFFER_BYTES)

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self._upgraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._left:
            self._discard(nbytes)
        elif self._upgraded:
            self._transport.write(_answer_frames(bytes(self._buffer[:nbytes])))
        else:
            self._read_head(bytes(self._buffer[:nbytes]))

    def _read_head(self, data: bytes) -> None:
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            if len(head) > HEAD_BYTES_MAX:
                self._transport.abort()
            return
        self._head = b""
        key = re.search(rb"(?i)\r\nsec-websocket-key: *([^\r]+)", head)
        if key is not None:
            self._upgraded = True
            accept = base64.b64encode(hashlib.sha1(key.group(1) + _WEBSOCKET).digest())
            self._transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
                b"sec-websocket-accept: %b\r\n\r\n" % accept
            )
            return
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        self._left = int(length.group(1)) if length else 0
        self._discard(len(rest))

    def _discard(self, count: int) -> None:
        self._left -= count
        if self._left == 0:
            self._transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")


def _answer_frames(data: bytes) -> bytes:
    """Return the frames unmasked. The benchmark's frames are short and masked with zeros."""
    answer = b""
    while data:
        opcode, length = data[:1], data[1] & 0x7F
        assert length <= SHORT_FRAME_BYTES_MAX
        end = 2 + MASK_BYTES + length
        answer += opcode + bytes([length]) + data[2 + MASK_BYTES : end]
        data = data[end:]
    return answer


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Sink, "127.0.0.1", int(os.environ["PORT"]), backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
