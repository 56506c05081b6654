"""Tracks where WebSocket frames end: the part of RFC 6455 that a relay needs to insert its own frame."""

import os

GOING_AWAY = 1001
POLICY_VIOLATION = 1008
_CLOSE = 8


class Frames:
    """The frames that pass in one direction."""

    __slots__ = ("_head", "_left", "has_closed")

    def __init__(self) -> None:
        self._head = b""  # the beginning of a frame whose length has not arrived yet
        self._left = 0  # bytes of the current frame still to come
        self.has_closed = False  # whether a close frame has begun to pass

    @property
    def is_between(self) -> bool:
        """Whether the stream is between two frames."""
        return not self._head and not self._left

    def read(self, data: bytes) -> None:
        """Track relayed bytes."""
        if len(data) <= self._left:
            self._left -= len(data)
            return
        rest = self._head + data[self._left :]
        self._left, at = 0, 0
        while at < len(rest):
            length = _length(rest, at)
            if length is None:
                break
            self.has_closed = self.has_closed or rest[at] & 15 == _CLOSE
            at += length
        self._head = rest[at:]
        self._left = max(0, at - len(rest))

    def rest_of_frame(self, data: bytes) -> bytes:
        """Return the part of the data that belongs to the current frame, and track it as relayed."""
        length = self._left
        if self._head:
            whole = _length(self._head + data, 0)
            length = len(data) if whole is None else whole - len(self._head)
        part = data[:length]
        self.read(part)
        return part


def close_frame(code: int, *, masked: bool) -> bytes:
    """Return a close frame; clients have to mask their frames."""
    payload = code.to_bytes(2, "big")
    if not masked:
        return bytes((0x80 | _CLOSE, len(payload))) + payload
    key = os.urandom(4)
    hidden = bytes(byte ^ key[place % 4] for place, byte in enumerate(payload))
    return bytes((0x80 | _CLOSE, 0x80 | len(payload))) + key + hidden


def _length(data: bytes, at: int) -> int | None:
    """Return the length of the frame at this position, with its head; None if the head is incomplete."""
    if len(data) - at < 2:
        return None
    length, head = data[at + 1] & 127, 2
    if length >= 126:
        size = 2 if length == 126 else 8
        if len(data) - at < head + size:
            return None
        length, head = int.from_bytes(data[at + head : at + head + size], "big"), head + size
    is_masked = data[at + 1] >> 7
    return head + 4 * is_masked + length
