"""Packets of Engine.IO 4 and Socket.IO 5: stateless parsing and formatting of text packets.

A packet is a digit and its text. In a long-polling body, packets are separated by U+001E.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

SEPARATOR = "\x1e"
PACKET_CHARACTERS_MAX = 256 * 1024
PACKETS_MAX = 64  # in one body


class Kind(StrEnum):
    """The kinds of Engine.IO; a MESSAGE carries a Socket.IO packet."""

    OPEN = "0"
    CLOSE = "1"
    PING = "2"
    PONG = "3"
    MESSAGE = "4"
    UPGRADE = "5"
    NOOP = "6"


CONNECT, DISCONNECT, EVENT, CONNECT_ERROR = "0", "1", "2", "4"


class BadPacket(Exception):
    """The client does not speak the protocol."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event with its first argument."""

    name: str
    data: dict[str, Any]


def split(body: str) -> list[tuple[Kind, str]]:
    """Parse a long-polling body or one WebSocket message."""
    packets = body.split(SEPARATOR)
    if len(packets) > PACKETS_MAX:
        raise BadPacket("too many packets at once")
    return [read(packet) for packet in packets]


def read(packet: str) -> tuple[Kind, str]:
    if not packet or len(packet) > PACKET_CHARACTERS_MAX:
        raise BadPacket("a packet is empty or too large")
    try:
        return Kind(packet[0]), packet[1:]
    except ValueError as error:
        raise BadPacket("unknown kind of packet") from error


def read_event(text: str) -> Event:
    """Parse the Socket.IO part of a message that carries an event, after its kind."""
    start = text.find("[")
    if start < 0 or not (text[:start] == "" or text[:start].isdecimal()):  # an acknowledgement's number
        raise BadPacket("only events of the main namespace are supported")
    try:
        arguments = json.loads(text[start:])
    except (ValueError, RecursionError) as error:
        raise BadPacket("an event is not JSON") from error
    if not arguments or not isinstance(arguments[0], str):
        raise BadPacket("an event has no name")
    data = arguments[1] if len(arguments) > 1 else {}
    return Event(arguments[0], data if isinstance(data, dict) else {})


def event(name: str, data: dict[str, Any]) -> str:
    return f"{Kind.MESSAGE}{EVENT}{_json([name, data])}"


def connected(sid: str) -> str:
    return f"{Kind.MESSAGE}{CONNECT}{_json({'sid': sid})}"


def opened(sid: str, upgrades: list[str], ping_seconds: float, timeout_seconds: float) -> str:
    opening = {
        "sid": sid,
        "upgrades": upgrades,
        "pingInterval": int(ping_seconds * 1000),
        "pingTimeout": int(timeout_seconds * 1000),
        "maxPayload": PACKET_CHARACTERS_MAX,
    }
    return f"{Kind.OPEN}{_json(opening)}"


def disconnected() -> str:
    return f"{Kind.MESSAGE}{DISCONNECT}"


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
