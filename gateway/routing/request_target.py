"""Extracts the path, host and method for a lookup in the routing table."""

import re
from typing import TYPE_CHECKING

from gateway.http.framing import AUTHORITY_BYTES_MAX, is_authority
from gateway.routing.table import BadPath, Match, RouteTable

if TYPE_CHECKING:
    from gateway.http.headers import Request

_ABSOLUTE = re.compile(rb"https?://(?:[^/?#@]*@)?(?P<host>[^/?#@]*)(?P<rest>[/?#].*|)", re.DOTALL)


def match_of(table: RouteTable, request: "Request") -> Match:
    """Look up a request; a preflight is looked up like the request that it announces."""
    method = request.method
    if method == b"OPTIONS":
        method = dict(request.headers).get(b"access-control-request-method", method)
    host = host_of(request) if table.has_hosts else ""
    return table.match(origin_form(request.target), method, host)


def host_of(request: "Request") -> str:
    """Return the host without its port; empty if it is too long for a host name."""
    authority = authority_of(request.target)
    if authority is None:
        authority = next((value for name, value in request.headers if name == b"host"), b"").strip()
    if len(authority) > AUTHORITY_BYTES_MAX:
        return ""
    name = authority.decode("latin-1").lower()
    name = name.partition("]")[0] + "]" if name.startswith("[") else name.partition(":")[0]
    return name.removesuffix(".")


def authority_of(target: bytes) -> bytes | None:
    """Return the host in the target itself, which overrides the Host header (RFC 9112, 3.2.2)."""
    absolute = None if target.startswith(b"/") else _ABSOLUTE.fullmatch(target)
    return None if absolute is None else absolute["host"]


def origin_form(target: bytes) -> bytes:
    """Reduce `GET http://host/path`, the form that clients send to a proxy, to `GET /path`."""
    absolute = None if target.startswith(b"/") else _ABSOLUTE.fullmatch(target)
    if absolute is None:
        return target
    if not is_authority(absolute["host"]):
        raise BadPath
    rest: bytes = absolute["rest"]
    return rest if rest.startswith(b"/") else b"/" + rest
