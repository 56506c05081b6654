"""Framing checks, which come first: a request must have only one possible interpretation."""

import re
from functools import lru_cache

from gateway import errors
from gateway.errors import Refusal
from gateway.http.headers import Fields, Request

HEAD_BYTES_MAX = 64 * 1024  # trailers may take as much again, plus one read
TARGET_BYTES_MAX = 32 * 1024  # services cannot parse URLs of more than 64 KiB
AUTHORITY_BYTES_MAX = 255 + len(":65535")
LENGTH_DIGITS_MAX = 20  # as many as in 2 ** 64
AUTHORITIES_REMEMBERED = 1024

# RFC 3986, 3.2.2 and 3.2.3, except the comma, which would turn one host into two.
_AUTHORITY = re.compile(
    rb"(?:(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?"
)


def fault_of_head(request: Request, version: str, *, is_long: bool) -> Refusal | None:
    """Return why to refuse the request on any route and close its connection; None if there is no reason."""
    if request.method == b"CONNECT":
        return Refusal(errors.METHOD_NOT_ALLOWED, headers={"Allow": "GET"})
    if version not in ("1.1", "1.0"):
        return Refusal(errors.MALFORMED, "The HTTP version must be 1.1 or 1.0.")
    if len(request.target) > TARGET_BYTES_MAX or (is_long and request.size > HEAD_BYTES_MAX):
        return Refusal(errors.HEAD_TOO_LARGE)
    return None


def fault_of(request: Request, fields: Fields) -> Refusal | None:
    """Return why to refuse the request and close its connection; None if there is no reason."""
    words = _framing_fault(request, fields) or _host_fault(request, fields)
    return None if words is None else Refusal(errors.MALFORMED, words)


def _framing_fault(request: Request, fields: Fields) -> str | None:
    """Check that any other parser would find the same end of the body."""
    seen = fields.seen
    coding = seen.get(b"transfer-encoding")
    if coding is not None:
        if coding.lower() != b"chunked" or request.is_http10:
            return "The only supported transfer coding is `chunked`, in HTTP/1.1."
    elif len(seen.get(b"content-length", b"")) > LENGTH_DIGITS_MAX:
        return "The Content-Length has too many digits."
    if b"authorization" in fields.doubled:
        return "There is more than one Authorization header."
    return None


def _host_fault(request: Request, fields: Fields) -> str | None:
    host = fields.seen.get(b"host")
    if host is None:
        return None if request.is_http10 else "There is no Host header."
    if b"host" in fields.doubled:
        return "There is more than one Host header."
    return None if is_authority(host) else "The Host header does not name a host."


def is_authority(value: bytes) -> bool:
    """Whether these bytes are a host, with or without a port."""
    # Longer values are not cached: clients could fill the memory with them.
    return len(value) <= AUTHORITY_BYTES_MAX and _is_authority(value)


@lru_cache(maxsize=AUTHORITIES_REMEMBERED)
def _is_authority(value: bytes) -> bool:
    return _AUTHORITY.fullmatch(value) is not None
