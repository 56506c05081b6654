"""Client of a ClamAV daemon, for its INSTREAM command."""

import re
import socket
from collections.abc import Iterable
from contextlib import closing, suppress

from shared.errors import Unavailable

SECONDS_MAX = 60.0
ANSWER_BYTES_MAX = 4096
_INFECTED = re.compile(r"stream: (.+) FOUND")


class ScannerAway(Unavailable):
    """The daemon is unreachable."""


class NotScannable(Exception):
    """The daemon could not scan the file, for example because it is too large."""


def scan(address: str, pieces: Iterable[bytes]) -> str | None:
    """Return the name of the threat in these bytes; None if they are clean.

    `address` is `host:port`, or the path of a socket.
    """
    try:
        with closing(_connect(address)) as connection:
            with suppress(
                BrokenPipeError, ConnectionResetError
            ):  # the daemon stopped reading, and its response says why
                connection.sendall(b"zINSTREAM\0")
                for piece in pieces:
                    connection.sendall(len(piece).to_bytes(4) + piece)
                connection.sendall(bytes(4))
            answer = _answer(connection)
    except OSError as error:
        raise ScannerAway(f"{address}: {error}") from error
    if answer == "stream: OK":
        return None
    found = _INFECTED.fullmatch(answer)
    if found is None:
        raise NotScannable(f"{address} responded with {answer!r}")
    return found.group(1)


def _connect(address: str) -> socket.socket:
    if "/" in address:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(SECONDS_MAX)
        try:
            connection.connect(address)
        except OSError:
            connection.close()
            raise
        return connection
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), SECONDS_MAX)


def _answer(connection: socket.socket) -> str:
    received = b""
    while not received.endswith(b"\0") and len(received) < ANSWER_BYTES_MAX:
        piece = connection.recv(ANSWER_BYTES_MAX)
        if not piece:
            break
        received += piece
    return received.rstrip(b"\0\n").decode("utf-8", "replace")
