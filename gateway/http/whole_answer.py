"""Responses that arrive whole in one read, and what follows from their heads.

Services answer most requests with one small body of a known length, in one write. If the head is as plain as
most are, the parser and its callbacks can be saved; a head that has come before is not even read. The form
accepted here is a small part of what the parser accepts, and means the same: the rest is left to the parser.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from gateway.http.headers import DROP, PASS, answer_rule
from shared.http.hop_by_hop import HOP_BY_HOP

HEAD_BYTES_MAX = 1024  # longer heads would take too much memory, and are rare
HEADS_REMEMBERED = 256
LENGTH_DIGITS_MAX = 9

# Responses to which nothing special applies: not 1xx, 204 and 304, which have no body.
_FIRST_LINE = re.compile(rb"HTTP/1\.1 (?!204|304)([2-5][0-9]{2}) [ -~]*")
_HEAD_END = b"\r\n\r\n"
_PRINTABLE = bytes(range(ord(" "), ord("~") + 1))
_NAME_BYTES = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_NAME_BYTES_MAX = 40
_STATES_NOTHING = frozenset((b"keep-alive", b"proxy-authenticate"))  # dropped, and without meaning to parsers


class WholeAnswer(NamedTuple):
    """What follows from the head of a response in one read."""

    status: int
    lines: bytes  # for the client, with the length
    length: int  # of the body


def whole_answer(data: bytes, id_line: bytes) -> tuple[WholeAnswer, int] | None:
    """Return what the head says and where the body begins, if these bytes are one plain response.

    Services repeat the request id, `id_line`. The gateway writes its own; without it, most heads are equal.
    """
    start = data.find(_HEAD_END, 0, HEAD_BYTES_MAX) + len(_HEAD_END)
    if start < len(_HEAD_END):
        return None
    found = _read(data[:start].replace(b"\r\n" + id_line, b"\r\n", 1))
    return None if found is None or start + found.length != len(data) else (found, start)


@lru_cache(maxsize=HEADS_REMEMBERED)
def _read(head: bytes) -> WholeAnswer | None:
    first, *lines, _, _ = head.split(b"\r\n")
    # Only line ends beside printable characters, and as many as there are lines.
    if head.translate(None, _PRINTABLE) != b"\r\n" * (len(lines) + 2):
        return None
    status = _FIRST_LINE.fullmatch(first)
    passed: list[bytes] = []
    length = b""
    for line in lines:
        name, colon, value = line.partition(b": ")
        if not colon or not value or value.strip() != value:
            return None
        name = name.lower()
        rule = _rule(name)
        if rule == PASS:
            passed += (name, b": ", value, b"\r\n")
        elif rule is None or (name == b"connection" and value.lower() != b"keep-alive"):
            return None
        elif name == b"content-length":
            if length or not _is_length(value):
                return None
            length = value
    if status is None or not length:
        return None
    return WholeAnswer(int(status[1]), b"".join((*passed, b"content-length: ", length, b"\r\n")), int(length))


@lru_cache(maxsize=1024)
def _rule(name: bytes) -> int | None:
    """Return how to treat a header; None if it needs more than that."""
    if not name or len(name) > _NAME_BYTES_MAX or name.translate(None, _NAME_BYTES):
        return None
    rule = answer_rule(name)
    if name in HOP_BY_HOP and name != b"connection" and name not in _STATES_NOTHING:
        return None
    return rule if rule in (PASS, DROP) else None


def _is_length(value: bytes) -> bool:
    return value.isdigit() and len(value) <= LENGTH_DIGITS_MAX and b"%d" % int(value) == value
