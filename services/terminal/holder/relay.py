"""Connects ports of a box with the service, which cannot reach into the box itself.

It is needed even for a container without a network. The relay connects out to a socket of the service, reads
orders (a port and a token) from it, and serves each over a second connection: the token, a status byte, and
then the bytes of a connection to that port on the loopback interface of the box. It ends when its first
connection does.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
from contextlib import suppress

from .main import detach

CONTROL, STREAM = b"C", b"S"
ORDER = struct.Struct("!H16s")  # port, token
CONNECTED, REFUSED = b"\0", b"\1"
CONNECT_SECONDS = 5.0
PIECE_BYTES = 64 * 1024
STREAMS_MAX = 64


class Relay:
    def __init__(self, path: str) -> None:
        self._path = path
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Follow orders until the service closes the connection."""
        reader, writer = await asyncio.open_unix_connection(self._path)
        writer.write(CONTROL)
        await writer.drain()
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                port, token = ORDER.unpack(await reader.readexactly(ORDER.size))
                if len(self._tasks) < STREAMS_MAX:  # an order without an answer expires
                    task = asyncio.ensure_future(self._serve(port, token))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)

    async def _serve(self, port: int, token: bytes) -> None:
        inside = await _connected(port)
        try:
            reader, writer = await asyncio.open_unix_connection(self._path)
        except OSError:
            if inside is not None:
                inside[1].transport.abort()
            return
        writer.write(STREAM + token + (REFUSED if inside is None else CONNECTED))
        if inside is None:
            writer.close()
            return
        await _splice((reader, writer), inside)


async def _connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    for host in ("127.0.0.1", "::1"):
        with suppress(OSError, asyncio.TimeoutError):
            return await asyncio.wait_for(asyncio.open_connection(host, port), CONNECT_SECONDS)
    return None


async def _splice(
    one: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    other: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    """Copy both ways; the end of one direction is passed on, and an error ends both."""
    copying = [asyncio.ensure_future(_copy(one[0], other[1])), asyncio.ensure_future(_copy(other[0], one[1]))]
    try:
        await asyncio.gather(*copying)
    except OSError:
        pass
    finally:
        for task in copying:
            task.cancel()
        for _, writer in (one, other):
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        data = await reader.read(PIECE_BYTES)
        if not data:
            break
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


def main(text: str) -> None:
    """Detach from the service, then relay as configured by this JSON text."""
    config = json.loads(text)
    detach(config)
    with suppress(OSError):
        asyncio.run(Relay(config["socket"]).run())
    sys.exit(0)
