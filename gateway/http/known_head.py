"""A request head that was parsed, remembered for later requests on its connection with the same headers.

Clients that keep a connection open send the same headers with every request. What follows from these bytes
and from the connection is computed once: the sorted headers, the text of the token or of the session cookie,
the client's address. What may change between two requests is not kept: whether the token is valid, the
caller's rights, the route, the access token that stands for a session cookie.
"""

import re
from collections.abc import Sequence
from typing import Any

from gateway.http.headers import Fields, Header, trace_parent

HEAD_BYTES_MAX = 8 * 1024  # longer heads would take too much memory on many connections
# Heads with these headers are not remembered: they concern a body, the connection, or this one request.
_NOT_REPEATED = frozenset(
    (b"transfer-encoding", b"content-length", b"expect", b"upgrade", b"trailer", b"x-request-id")
)
_REQUEST_LINE = re.compile(rb"(GET|HEAD) (/[!\"$-~]*)")
_VERSION = b" HTTP/1.1\r\n"
_HEAD_END = b"\r\n\r\n"


class KnownHead:
    """Everything after the target of a request that was well-formed and had no body."""

    __slots__ = """
        address block block_of cookie decisions decisions_of fields headers presented presented_for tail token
        trace
    """.split()

    def __init__(
        self,
        tail: bytes,
        headers: list[Header],
        fields: Fields,
        token: str | None,
        cookie: bytes | None,
        address: str,
    ) -> None:
        self.tail = tail
        self.headers = headers
        self.fields = fields
        self.token = token
        self.cookie = cookie  # the session cookie; None if there is an Authorization header
        self.address = address
        # The headers with an access token in place of the credential, and the token and policy they are for.
        self.presented: Sequence[bytes] = ()
        self.presented_for: tuple[object, object] = (None, None)
        # The lines for the target, and the headers, route and target that they were written for.
        self.block = b""
        self.block_of: tuple[object, object, object] = (None, None, None)
        # The decisions that are left on a route, and the route.
        self.decisions: tuple[Any, ...] = ()
        self.decisions_of: object = None
        given = fields.seen.get(b"traceparent")
        self.trace = given if given is not None and trace_parent(given) is given else None

    def line_of(self, data: bytes) -> re.Match[bytes] | None:
        """Return method and target if these bytes are this head again, with any target."""
        if len(data) > HEAD_BYTES_MAX or not data.endswith(self.tail):
            return None
        return _REQUEST_LINE.fullmatch(data, 0, len(data) - len(self.tail))


def tail_of(data: bytes) -> bytes:
    """Return what follows the target if these bytes are one head of HTTP/1.1 and nothing else."""
    if len(data) > HEAD_BYTES_MAX or data.find(_HEAD_END) != len(data) - len(_HEAD_END):
        return b""
    start = data.find(b"\r\n") + len(b"\r\n") - len(_VERSION)
    return data[start:] if start > 0 and data.startswith(_VERSION, start) else b""


def may_be_known(data: bytes, line: bytes, headers: list[Header]) -> bool:
    """Whether these bytes give the same headers for any target; `line` is the method and the target."""
    is_plain = data.startswith(line + _VERSION) and _REQUEST_LINE.fullmatch(line) is not None
    # One line for each header: none is folded, and nothing was skipped between them.
    is_plain = is_plain and data.count(b"\n") == len(headers) + 2
    return is_plain and all(
        name not in _NOT_REPEATED and (name != b"connection" or value.lower() == b"keep-alive")
        for name, value in headers
    )
