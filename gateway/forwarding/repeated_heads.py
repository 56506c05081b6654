"""The client's connection with a memory of one head: requests with the same headers are not parsed again."""

from typing import Any

import structlog

from gateway.errors import Refusal
from gateway.forwarding.client_protocol import GatewayProtocol
from gateway.forwarding.exchange import Exchange
from gateway.http.framing import fault_of
from gateway.http.headers import Fields, Request
from gateway.http.known_head import KnownHead, may_be_known, tail_of
from gateway.policies.authentication import token_of
from gateway.policies.browser_sessions import cookie_of
from gateway.routing.request_target import match_of
from gateway.routing.table import BadPath

log = structlog.get_logger(__name__)


class RememberingProtocol(GatewayProtocol):
    """Does the same as GatewayProtocol in less time.

    A head is remembered once it has come twice in a row. Every byte of a later head has to be the same; in
    any doubt, the parser reads it.
    """

    __slots__ = ("_known", "_tail")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._known: KnownHead | None = None
        self._tail = b""  # of the last read, if that was exactly one request without a body; or empty

    def data_received(self, data: bytes) -> None:
        if self._current is not None or self._head_bytes:
            self._tail = b""
            super().data_received(data)
            return
        known = self._known
        # After any other kind of read, the parser might already hold the first byte of this request.
        if known is not None and self._tail and self._is_again(known, data):
            return
        before: Any = self.cycle
        super().data_received(data)
        after: Any = self.cycle
        if after is not before and isinstance(after, Exchange) and after.request_complete:
            self._learn(after, data)
        else:
            self._tail = b""

    def _is_again(self, known: KnownHead, data: bytes) -> bool:
        """Start the request if its headers are the known ones; otherwise touch nothing."""
        line = known.line_of(data)
        gateway = self.gateway
        if line is None or self not in gateway.idle or self._deaf or self.transport.is_closing():
            return False
        request = Request(line[1], line[2], known.headers)
        try:
            table = gateway.routing.table
            # The target is a path, and the method is not OPTIONS.
            match = match_of(table, request) if table.has_hosts else table.match(line[2], line[1])
        except BadPath:
            return False
        if match.route is None:
            return False
        del gateway.idle[self]
        exchange = Exchange(self, request, match, keep_alive=True)
        exchange.known = known
        exchange.request_complete = True
        self.cycle = exchange  # type: ignore[assignment]
        self._current = exchange
        try:
            exchange.start()
        except Exception as error:
            log.exception("connection_failed", exc_info=error)
            self.cut()
        return True

    def _learn(self, exchange: Exchange, data: bytes) -> None:
        """Remember the head of a request if the one before had the same."""
        before, self._tail = self._tail, tail_of(data)
        if self._tail and self._tail == before:
            self._known = _known_head(exchange, data, before)


def _known_head(exchange: Exchange, data: bytes, tail: bytes) -> KnownHead | None:
    request = exchange.request
    headers = request.headers
    key_header = exchange.rules.api_key_header  # keys are checked anew, and change what is forwarded
    if (
        request.fault is not None
        or not exchange.keep_alive
        or exchange.received_bytes
        or not may_be_known(data, request.method + b" " + request.target, headers)
        or any(name == key_header for name, _ in headers)
    ):
        return None
    fields = Fields(headers)
    try:
        token = token_of(fields.seen.get(b"authorization"))
    except Refusal:
        return None
    if fault_of(request, fields) is not None:
        return None
    return KnownHead(tail, headers, fields, token, cookie_of(exchange), exchange.address)
