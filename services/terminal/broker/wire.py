"""The messages between service and broker: one JSON object per line."""

import asyncio
import json
from typing import Any

SOCKET_NAME = "broker.sock"
LINE_BYTES_MAX = 1 << 20  # the list of all boxes, when the service starts
COMMAND = "broker"  # the argument with which this service's module runs as the broker

Message = dict[str, Any]


async def read(reader: asyncio.StreamReader) -> Message | None:
    """Return the next message; None at the end. Raises ValueError for anything else."""
    line = await reader.readline()
    if not line.endswith(b"\n"):
        return None
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError("a message is not an object")  # noqa: TRY004 - a fault of the other side
    return message


def write(writer: asyncio.StreamWriter, message: Message) -> None:
    writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
