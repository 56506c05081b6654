"""The headers that the gateway writes: for requests, forwarded responses and its own responses."""

from collections.abc import Sequence
from functools import lru_cache

from gateway.errors import Refusal
from gateway.forwarding.envelope import wrap_problem
from gateway.forwarding.transfer import Transfer
from gateway.http.headers import Header, without
from gateway.http.known_head import KnownHead
from gateway.request import RequestState
from gateway.routing.header_changes import NO_CHANGES
from gateway.routing.request_target import authority_of
from gateway.routing.table import NO_SECURITY
from gateway.telemetry.tracing import trace_for_target
from gateway.upstream.connection import BODILESS
from shared.errors import PROBLEM_JSON

FORWARDED_CHARS_REMEMBERED = 200  # longer values are not cached: behind proxies, clients control part of them
NO_SNIFFING = b"x-content-type-options: nosniff\r\n"


def upstream_head(state: RequestState) -> bytes:
    """Return the request line and headers for the target, with new framing."""
    request, seen = state.request, state.fields.seen
    assert state.backend is not None
    alias, known = state.match.alias, state.known
    if (
        known is not None
        and alias is None
        and (state.passed is known.fields.passed or state.passed is known.presented)
    ):
        return _known_upstream_head(state, known)
    # The gateway has to read what it wraps in an envelope, so the response must not be compressed.
    enveloped = alias is not None and alias.envelope
    passed = without(state.passed, b"accept-encoding") if enveloped else state.passed
    changes = state.policy.headers.request
    if changes is not NO_CHANGES:
        passed = changes.of_request(passed)
    lines = [request.method, b" ", state.match.target, b" HTTP/1.1\r\n", *passed]
    lines += (state.backend.host_line, state.id_line, *_forwarded(state))
    lines += (b"\r\ntraceparent: ", trace_for_target(state, seen.get(b"traceparent")), b"\r\n")
    if b"transfer-encoding" in seen:
        lines.append(b"transfer-encoding: chunked\r\n")
    elif b"content-length" in seen:
        # Without leading zeros: some parsers read `010` as octal.
        lines.append(b"content-length: %d\r\n" % int(seen[b"content-length"]))
    if b"expect" in seen and not request.is_http10:
        lines += (b"expect: ", seen[b"expect"], b"\r\n")
    if request.upgrade:
        lines += (b"connection: upgrade\r\nupgrade: ", seen[b"upgrade"], b"\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


def _known_upstream_head(state: RequestState, known: KnownHead) -> bytes:
    """Return the head for the target, in which only the first line, the request id and the trace are new."""
    route, backend, passed = state.route, state.backend, state.passed
    assert backend is not None
    made_for = known.block_of
    if made_for[0] is not passed or made_for[1] is not route or made_for[2] is not backend:
        changes = state.policy.headers.request
        sent = passed if changes is NO_CHANGES else changes.of_request(passed)
        known.block = b"".join((b" HTTP/1.1\r\n", *sent, backend.host_line, *_forwarded(state), b"\r\n"))
        known.block_of = (passed, route, backend)
    return b"%b %b%b%btraceparent: %b\r\n\r\n" % (
        state.request.method,
        state.match.target,
        known.block,
        state.id_line,
        trace_for_target(state, known.trace),
    )


def _forwarded(state: RequestState) -> tuple[bytes, bytes]:
    """Return the X-Forwarded headers, from the connection or from a trusted proxy in front of it."""
    seen, client = state.fields.seen, state.client
    host = authority_of(state.request.target) or seen.get(b"host", b"")  # as in the routing table
    address = client.peer
    proto: str = client.scheme or "http"
    if state.rules.proxies.trusts(client.peer):
        before = seen.get(b"x-forwarded-for")
        address = f"{before.decode('latin-1')}, {client.peer}" if before else client.peer
        proto = seen.get(b"x-forwarded-proto", proto.encode()).decode("latin-1")
        host = seen.get(b"x-forwarded-host", host)
    is_short = len(address) + len(proto) <= FORWARDED_CHARS_REMEMBERED
    return (_remembered_lines if is_short else _forwarded_lines)(address, proto), host


def _forwarded_lines(address: str, proto: str) -> bytes:
    return f"x-forwarded-for: {address}\r\nx-forwarded-proto: {proto}\r\nx-forwarded-host: ".encode("latin-1")


_remembered_lines = lru_cache(maxsize=4096)(_forwarded_lines)


def changed_answer(state: RequestState, headers: Sequence[Header]) -> list[Header]:
    """Return the headers of a target's response after the changes of the route."""
    policy = state.policy
    headers = policy.headers.response.of_answer(headers)
    return headers + policy.security_headers.missing(headers, is_https=_is_https(state))


def _is_https(state: RequestState) -> bool:
    """Whether the client used HTTPS, to the gateway or to a trusted proxy in front of it."""
    client = state.client
    if state.rules.proxies.trusts(client.peer):
        return state.fields.seen.get(b"x-forwarded-proto", b"").lower() == b"https"
    return bool(client.scheme == "https")


def _security_lines(state: RequestState) -> bytes:
    """Return the security headers of the gateway's own responses."""
    if state.policy.security_headers is NO_SECURITY:
        return NO_SNIFFING
    fields = state.policy.security_headers.missing((), is_https=_is_https(state))
    rest = [b"%b: %b\r\n" % each for each in fields if each[0] != b"x-content-type-options"]
    return b"".join((NO_SNIFFING, *rest))


def client_head_end(transfer: Transfer) -> bytes:
    """Return the last headers of every response, forwarded or the gateway's own."""
    if transfer.client.server_state.draining:
        transfer.keep_alive = False
    return b"%b%b%b%b" % (
        transfer.id_line,
        transfer.limit_headers,
        transfer.cors.answer_headers(transfer.fields.seen.get(b"origin")),
        b"\r\n" if transfer.keep_alive else b"connection: close\r\n\r\n",
    )


def frame_answer(transfer: Transfer, lines: list[bytes], length: bytes | None) -> bool:
    """Frame the body by its length, in chunks, or by closing the connection; return whether it is chunked."""
    if length is not None:
        if transfer.status != 204:
            lines += (b"content-length: ", length, b"\r\n")
    elif transfer.request.is_http10:
        transfer.keep_alive = False
    elif transfer.request.method != b"HEAD" and transfer.status not in BODILESS:
        lines.append(b"transfer-encoding: chunked\r\n")
        return True
    return False


def own_answer(transfer: Transfer, refusal: Refusal) -> list[bytes]:
    """Return a refusal as problem+json, or in the envelope if the client used an alias that has one."""
    transfer.keep_alive = transfer.keep_alive and transfer.rest_is_small
    body, media_type = refusal.body(transfer.request_id), PROBLEM_JSON
    alias = transfer.match.alias
    if alias is not None and alias.envelope:
        body, media_type = wrap_problem(body, transfer.request_id, transfer.caller), "application/json"
    lines = [name + b": " + value + b"\r\n" for name, value in transfer.client.server_state.default_headers]
    for name, text in refusal.headers.items():
        lines.append(f"{name.lower()}: {text}\r\n".encode())
    lines.append(
        f"content-type: {media_type}\r\ncontent-length: {len(body)}\r\ncache-control: no-store\r\n".encode()
    )
    lines += (_security_lines(transfer), client_head_end(transfer))
    if transfer.request.method != b"HEAD":
        lines.append(body)
        transfer.sent_bytes = len(body)
    return lines


def preflight_answer(transfer: Transfer, permission: bytes) -> list[bytes]:
    state = transfer.client.server_state
    transfer.keep_alive = transfer.keep_alive and transfer.rest_is_small and not state.draining
    lines = [name + b": " + value + b"\r\n" for name, value in state.default_headers]
    close = b"" if transfer.keep_alive else b"connection: close\r\n"
    return [*lines, permission, transfer.id_line, close, b"\r\n"]


def link_for_client(state: RequestState, value: bytes) -> bytes:
    """Rewrite a Location or Link for the client: without the target's origin, under the alias used."""
    assert state.backend is not None
    value = value.replace(state.backend.origin.url.encode(), b"")
    match = state.match
    if match.alias is None and match.moved is None:
        return value
    if value.startswith(b"/"):
        return match.outward(value)
    return b"<" + match.outward(value[1:]) if value.startswith(b"</") else value
