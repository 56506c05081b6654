"""Turns a parsed request head into a request and looks up its route."""

from typing import TYPE_CHECKING

from gateway import errors
from gateway.errors import Refusal
from gateway.http.framing import fault_of, fault_of_head
from gateway.http.headers import Fields, Header, Request, has_body, may_switch
from gateway.routing.request_target import match_of
from gateway.routing.table import BadPath, Match, RouteTable

if TYPE_CHECKING:
    from httptools import HttpRequestParser

NOWHERE = Match(None, b"", b"", None)


def read_head(
    parser: "HttpRequestParser", target: bytes, headers: list[Header], table: RouteTable, *, is_long: bool
) -> tuple[Request, Match, bool]:
    """Return the request, its route, and whether the connection may be kept alive."""
    request = Request(parser.get_method(), target, headers)
    version = parser.get_http_version()
    request.is_http10 = version == "1.0"
    keep_alive = not request.is_http10 and parser.should_keep_alive()
    if parser.should_upgrade():
        request.upgrade = request.method == b"GET" and may_switch(headers)
        if has_body(headers):
            # The parser ends the request at its head, so the body would be read as the next request.
            request.fault = Refusal(errors.MALFORMED, "A request for another protocol cannot have a body.")
            keep_alive = False
    try:
        match = match_of(table, request)
    except BadPath:
        match, request.fault = NOWHERE, Refusal(errors.BAD_PATH)
    fault = fault_of_head(request, version, is_long=is_long)
    if fault is None and match.route is None:
        # Forwarded requests are checked at admission, which the application's own requests skip.
        fault = fault_of(request, Fields(headers))
    if fault is not None:
        request.fault, keep_alive = fault, False
    return request, match, keep_alive
