"""`term.v1`, the WebSocket protocol between browser and service: stateless parsing and formatting.

Binary frames carry terminal bytes. Server to client: an 8-byte big-endian offset, then output. Client to
server: input. Text frames are JSON objects with a `type`.
"""

import json
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

SUBPROTOCOL = "term.v1"
BEARER_PREFIX = "bearer."
INPUT_BYTES_MAX = 64 * 1024
CONTROL_CHARACTERS_MAX = 4096
COLUMNS, ROWS = range(2, 1001), range(1, 501)
EPOCH_CHARACTERS_MAX = 64
SIGNALS = {"INT": 2, "TERM": 15, "HUP": 1, "KILL": 9, "QUIT": 3}
OFFSET = struct.Struct("!Q")


class Close(IntEnum):
    """Close codes; clients reconnect after RESTARTING, TRY_AGAIN, NO_HELLO and TOO_LARGE."""

    ENDED = 1000
    RESTARTING = 1012
    TRY_AGAIN = 1013
    BAD_MESSAGE = 4400
    SIGN_IN = 4401
    FORBIDDEN = 4403
    GONE = 4404
    NO_HELLO = 4408
    TOO_LARGE = 4413


class ProtocolError(Exception):
    """The client violated the protocol; the socket is closed with this code and reason."""

    def __init__(self, reason: str, code: Close = Close.BAD_MESSAGE) -> None:
        super().__init__(reason)
        self.reason, self.code = reason, code


@dataclass(frozen=True, slots=True)
class Resume:
    """The position up to which a client has read a shell's output."""

    epoch: str
    offset: int


@dataclass(frozen=True, slots=True)
class Hello:
    rows: int
    columns: int
    resume: Resume | None


@dataclass(frozen=True, slots=True)
class Ack:
    offset: int


@dataclass(frozen=True, slots=True)
class Resize:
    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Claim:
    """Make this viewer the leader, whose size applies."""


@dataclass(frozen=True, slots=True)
class Signal:
    number: int


@dataclass(frozen=True, slots=True)
class Ping:
    time: float


Control = Hello | Ack | Resize | Claim | Signal | Ping


def read_control(text: str) -> Control:
    """Parse a text frame from the client; raises ProtocolError."""
    if len(text) > CONTROL_CHARACTERS_MAX:
        raise ProtocolError("a control message is too large", Close.TOO_LARGE)
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("a text frame is not JSON") from error
    if not isinstance(message, dict):
        raise ProtocolError("a control message is not an object")
    kind = message.get("type")
    if kind == "hello":
        return Hello(*_size(message), _resume(message.get("resume")))
    if kind == "ack":
        return Ack(_natural(message.get("offset"), "offset"))
    if kind == "resize":
        return Resize(*_size(message))
    if kind == "claim":
        return Claim()
    if kind == "signal":
        return Signal(_signal(message.get("signal")))
    if kind == "ping":
        return Ping(_time(message.get("time")))
    raise ProtocolError("a control message has an unknown type")


def _natural(value: object, name: str) -> int:
    if type(value) is not int or not 0 <= value < 2**53:
        raise ProtocolError(f"{name} must be a non-negative whole number below 2^53")
    return value


def _size(message: dict[str, Any]) -> tuple[int, int]:
    rows, columns = message.get("rows"), message.get("cols")
    if type(rows) is not int or rows not in ROWS or type(columns) is not int or columns not in COLUMNS:
        raise ProtocolError("rows must be 1 to 500 and cols 2 to 1000")
    return rows, columns


def _resume(value: object) -> Resume | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ProtocolError("resume must be null or an object")
    epoch = value.get("epoch")
    if not isinstance(epoch, str) or len(epoch) > EPOCH_CHARACTERS_MAX:
        raise ProtocolError("resume must have an epoch of at most 64 characters")
    return Resume(epoch, _natural(value.get("offset"), "resume.offset"))


def _signal(value: object) -> int:
    if not isinstance(value, str) or value not in SIGNALS:
        raise ProtocolError(f"signal must be one of {', '.join(SIGNALS)}")
    return SIGNALS[value]


def _time(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**63:
        raise ProtocolError("time must be a number")
    return value


def write_control(kind: str, /, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields}, separators=(",", ":"))


def write_data(offset: int, data: bytes) -> bytes:
    return OFFSET.pack(offset) + data
