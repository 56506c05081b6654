"""The requests of desync.txt, each with the body that does the most harm if it is misread."""

import re
from pathlib import Path

from tests.gateway.corpus.case import SMUGGLED, Case, End

FILE = Path(__file__).with_name("desync.txt")
_LENGTH = re.compile(rb"content-length[^\r\n]*?:[^\r\n\d]*(\d{1,7})(?!\d)", re.IGNORECASE)
_ENDS: dict[str, End] = {"+": "open", ".": "closed", "?": "waits"}


def cases() -> list[Case]:
    lines = [line for line in FILE.read_text().splitlines() if line and not line.startswith("#")]
    return [_case(number, *line.split("\t")) for number, line in enumerate(lines, 1)]


def _case(number: int, tier: str, outcome: str, request: str) -> Case:
    head = request.encode().decode("unicode_escape").encode("latin-1")
    line, separator, fields = head.partition(b"\r\n")
    if b"\nhost:" not in head.lower():
        line += b"\r\nHost: a"
    sent = line + separator + fields + b"\r\n\r\n" + _body(fields)
    statuses = tuple(int(status) for status in outcome[:-1].split())
    target = head.split(b" ")[1].decode("latin-1")
    method = head.split(b" ")[0].decode("latin-1")
    forwarded = [f"{method} {target}", "GET /smuggled"][: statuses.count(200)]
    return Case(f"{tier}-{number}", sent, statuses, tuple(forwarded), _ENDS[outcome[-1]], tier)


def _body(fields: bytes) -> bytes:
    """Return a body that a parser honouring Content-Length reads at its declared length.

    A parser that honours chunked sees an empty body followed by a second request.
    """
    end = b"0\r\n\r\n" if b"hunk" in fields.lower() else b""
    body = end + SMUGGLED.encode() if fields else b""
    length = _LENGTH.search(fields)
    if length is None:
        return body if end else b""
    bytes_long = int(length[1])
    return body[:bytes_long].ljust(bytes_long, b"x")
