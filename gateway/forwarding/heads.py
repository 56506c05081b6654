"""The bytes the gateway writes around what it passes on: request heads, ends of answer heads, own answers."""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.errors import Refusal
from gateway.forwarding.envelope import wrap_problem
from gateway.http.headers import Header, trace_parent
from gateway.routing.cors import Cors
from gateway.routing.header_changes import NO_CHANGES
from gateway.routing.request_target import authority_of
from gateway.routing.table import NO_SECURITY
from shared.errors import PROBLEM_JSON

if TYPE_CHECKING:
    from gateway.forwarding.exchange import Exchange

FORWARDED_CHARS_REMEMBERED = 200  # behind proxies, clients write a part of it
NO_SNIFFING = b"x-content-type-options: nosniff\r\n"


def upstream_head(exchange: "Exchange") -> bytes:
    """The head of the request as the backend is sent it, with the framing built anew."""
    request, fields, route = exchange.request, exchange.fields, exchange.route
    assert exchange.backend is not None
    assert route is not None
    seen = fields.seen
    alias = exchange.match.alias
    # What goes into an envelope has to be read, so that it must not come compressed.
    enveloped = alias is not None and alias.envelope
    passed = fields.passed_without(b"accept-encoding") if enveloped else fields.passed
    changes = route.policy.headers.request
    if changes is not NO_CHANGES:
        passed = changes.of_request(passed)
    lines = [request.method, b" ", exchange.match.target, b" HTTP/1.1\r\n", *passed]
    lines += (exchange.backend.host_line, exchange.id_line, *_forwarded(exchange))
    lines += (b"\r\ntraceparent: ", trace_parent(seen.get(b"traceparent")), b"\r\n")
    if b"transfer-encoding" in seen:
        lines.append(b"transfer-encoding: chunked\r\n")
    elif b"content-length" in seen:
        # Without zeros before it: to some `010` is eight.
        lines.append(b"content-length: %d\r\n" % int(seen[b"content-length"]))
    if b"expect" in seen and not request.is_http10:
        lines += (b"expect: ", seen[b"expect"], b"\r\n")
    if request.upgrade:
        lines += (b"connection: upgrade\r\nupgrade: ", seen[b"upgrade"], b"\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


def _forwarded(exchange: "Exchange") -> tuple[bytes, bytes]:
    """Who asks, how and whom: as the client said it, or as a proxy of ours in front says that it did."""
    seen, client = exchange.fields.seen, exchange.client
    host = authority_of(exchange.request.target) or seen.get(b"host", b"")  # as for the routing table
    address = client.peer
    proto: str = client.scheme or "http"
    if exchange.gateway.proxies.trusts(client.peer):
        before = seen.get(b"x-forwarded-for")
        address = f"{before.decode('latin-1')}, {client.peer}" if before else client.peer
        proto = seen.get(b"x-forwarded-proto", proto.encode()).decode("latin-1")
        host = seen.get(b"x-forwarded-host", host)
    is_short = len(address) + len(proto) <= FORWARDED_CHARS_REMEMBERED
    return (_remembered_lines if is_short else _forwarded_lines)(address, proto), host


def _forwarded_lines(address: str, proto: str) -> bytes:
    return f"x-forwarded-for: {address}\r\nx-forwarded-proto: {proto}\r\nx-forwarded-host: ".encode("latin-1")


_remembered_lines = lru_cache(maxsize=4096)(_forwarded_lines)


def changed_answer(exchange: "Exchange", headers: Sequence[Header]) -> list[Header]:
    """The fields of a backend's answer as the route wants them."""
    assert exchange.route is not None
    policy = exchange.route.policy
    headers = policy.headers.response.of_answer(headers)
    return headers + policy.security_headers.missing(headers, is_https=_is_https(exchange))


def _is_https(exchange: "Exchange") -> bool:
    """Whether the client came by HTTPS, to the gateway or to a proxy of ours in front of it."""
    client = exchange.client
    if exchange.gateway.proxies.trusts(client.peer):
        return exchange.fields.seen.get(b"x-forwarded-proto", b"").lower() == b"https"
    return bool(client.scheme == "https")


def _security_lines(exchange: "Exchange") -> bytes:
    """Nobody should take an answer of the gateway's own for anything but what it says it is."""
    if exchange.route is None or exchange.route.policy.security_headers is NO_SECURITY:
        return NO_SNIFFING
    fields = exchange.route.policy.security_headers.missing((), is_https=_is_https(exchange))
    rest = [b"%b: %b\r\n" % each for each in fields if each[0] != b"x-content-type-options"]
    return b"".join((NO_SNIFFING, *rest))


def cors_of(exchange: "Exchange") -> Cors:
    return exchange.route.policy.cors if exchange.route is not None else exchange.routing.table.cors


def client_head_end(exchange: "Exchange") -> bytes:
    """What every answer ends its head with, a forwarded one as much as the gateway's own."""
    if exchange.client.server_state.draining:
        exchange.keep_alive = False
    return b"%b%b%b%b" % (
        exchange.id_line,
        exchange.limit_headers,
        cors_of(exchange).answer_headers(exchange.fields.seen.get(b"origin")),
        b"\r\n" if exchange.keep_alive else b"connection: close\r\n\r\n",
    )


def own_answer(exchange: "Exchange", refusal: Refusal) -> list[bytes]:
    """A refusal, in the spelling the client used: problem+json or the envelope."""
    exchange.keep_alive = exchange.keep_alive and exchange.rest_is_small
    body, media_type = refusal.body(exchange.request_id), PROBLEM_JSON
    alias = exchange.match.alias
    if alias is not None and alias.envelope:
        body, media_type = wrap_problem(body, exchange.request_id, exchange.caller), "application/json"
    lines = [name + b": " + value + b"\r\n" for name, value in exchange.client.server_state.default_headers]
    for name, text in refusal.headers.items():
        lines.append(f"{name.lower()}: {text}\r\n".encode())
    lines.append(
        f"content-type: {media_type}\r\ncontent-length: {len(body)}\r\ncache-control: no-store\r\n".encode()
    )
    lines += (_security_lines(exchange), client_head_end(exchange))
    if exchange.request.method != b"HEAD":
        lines.append(body)
        exchange.sent_bytes = len(body)
    return lines


def preflight_answer(exchange: "Exchange", permission: bytes) -> list[bytes]:
    state = exchange.client.server_state
    exchange.keep_alive = exchange.keep_alive and exchange.rest_is_small and not state.draining
    lines = [name + b": " + value + b"\r\n" for name, value in state.default_headers]
    close = b"" if exchange.keep_alive else b"connection: close\r\n"
    return [*lines, permission, exchange.id_line, close, b"\r\n"]


def link_for_client(exchange: "Exchange", value: bytes) -> bytes:
    """A Location or Link as the client can follow it: without the backend's address, in its own spelling."""
    assert exchange.backend is not None
    value = value.replace(exchange.backend.origin.url.encode(), b"")
    match = exchange.match
    if match.alias is None and match.moved is None:
        return value
    if value.startswith(b"/"):
        return match.outward(value)
    return b"<" + match.outward(value[1:]) if value.startswith(b"</") else value
