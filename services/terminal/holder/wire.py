"""The wire format between holder and service: kind (1 byte), length (4 bytes), payload.

From the holder: H hello, D data, C chunk, P state, O input overflow, X exit. From the service: S follow,
L limit, F free, G get, I input, R resize, K signal, E end, Q quit.
"""

from __future__ import annotations

import struct
from typing import Iterator  # noqa: UP035 - Python 3.9

PROTOCOL = 1
HEAD = struct.Struct("!cI")
OFFSET = struct.Struct("!Q")
CHUNK_HEAD = struct.Struct("!IQQ")  # request, first available offset, offset of the data
GET = struct.Struct("!IQI")
SIZE = struct.Struct("!HH")
NUMBER = struct.Struct("!I")
NO_LIMIT = 2**64 - 1
PIECE_BYTES = 64 * 1024  # maximum data per frame
FRAME_BYTES_MAX = PIECE_BYTES + 1024


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    return HEAD.pack(kind, len(payload)) + payload


class FrameError(Exception):
    """The other side violated the protocol."""


class Frames:
    """Splits incoming bytes into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        self._buffer += data
        while len(self._buffer) >= HEAD.size:
            kind, length = HEAD.unpack_from(self._buffer)
            if length > FRAME_BYTES_MAX:
                raise FrameError("a frame is too large")
            end = HEAD.size + length
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[HEAD.size : end])
            del self._buffer[:end]
            yield kind, payload
