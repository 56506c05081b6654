"""Explains what the real admission steps would do with a request: for `gatehouse routes` and for admins."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from gateway import errors
from gateway.errors import Kind, Refusal
from gateway.forwarding.admission import STEPS
from gateway.forwarding.heads import upstream_head
from gateway.http.headers import Header, Request, without
from gateway.policies.api_keys import CLIENT_HEADER, keys_shown
from gateway.policies.authentication import require
from gateway.request import RequestRules, RequestState
from gateway.routing.header_changes import masked
from gateway.routing.request_target import host_of, match_of
from gateway.routing.table import BadPath, Match, Policy, Route, RouteTable, is_internal
from gateway.runtime.live_routes import Routing
from shared.caller import Caller

PEER = "127.0.0.1"


FORWARDED, REFUSED, OWN = "forwarded", "refused", "own"


class Line(NamedTuple):
    """One fact about the request; the last one has its outcome."""

    name: str
    words: str
    outcome: str = ""


class _Client:
    """A client with this address that connects without HTTPS."""

    scheme = "http"

    def __init__(self, address: str) -> None:
        self.peer = address


def explain(
    table: RouteTable,
    method: str,
    url: str,
    headers: Sequence[str],
    address: str = PEER,
    role: str | None = None,
) -> list[Line]:
    """Return one line per step; the last line says what happens to the request.

    With a role, the request is treated as one with a valid token of a person who has this role.
    """
    request = request_of(method, url, headers)
    lines = [Line("request", f"{method} {request.target.decode()} at host {host_of(request) or '(none)'}")]
    try:
        match = match_of(table, request)
    except BadPath:
        return [*lines, _refused(errors.BAD_PATH)]
    if match.alias is not None:
        spelled = f"{match.alias.path.decode()} stands for {match.alias.to.decode()}"
        envelope = ", response in the v1 envelope" if match.alias.envelope else ""
        lines.append(Line("alias", f"{spelled}: {match.path.decode()}{envelope}"))
    if match.route is None:
        return [*lines, *_without_route(match)]
    lines += _about(match.route, match.path, table, request)
    state = _state(request, match, table, address)
    if role is not None:
        state.fields.seen.setdefault(b"authorization", b"Bearer")
    end = _end(state) or (role and _end_as(role, state)) or None
    if end is not None:
        return [*lines, end]
    head = upstream_head(state).decode("latin-1").strip().splitlines()
    return [
        *lines,
        *(Line("sent", masked(each)) for each in head),
        Line("result", _verdict(match.route, state, is_known=role is not None), FORWARDED),
    ]


def request_of(method: str, url: str, headers: Sequence[str]) -> Request:
    parts = urlsplit(url)
    target = url[url.index(parts.netloc) + len(parts.netloc) :] if parts.netloc else url
    fields: list[Header] = []
    for line in headers:
        name, _, value = line.partition(":")
        fields.append((name.strip().lower().encode("latin-1"), value.strip().encode("latin-1")))
    if parts.netloc and not any(name == b"host" for name, _ in fields):
        fields.insert(0, (b"host", parts.netloc.encode("latin-1")))
    target = target.partition("#")[0]  # clients do not send the fragment
    return Request(method.upper().encode("latin-1"), (target or "/").encode("latin-1", "replace"), fields)


def _state(request: Request, match: Match, table: RouteTable, address: str) -> RequestState:
    """Return the request as the gateway would see it: from this address, without a trusted proxy."""
    assert match.route is not None
    state = RequestState(_Client(address), RequestRules(), table, request, match, keep_alive=True)
    state.read_headers()
    state.fields.seen.setdefault(b"host", b"localhost")  # every client sends a Host header
    state.id_line = b"x-request-id: <new>\r\n"
    state.backend = Routing(table).backends[match.route.upstream.shares[0].target]
    if _shows_key(state):
        passed = without(state.passed, state.rules.api_key_header)
        state.passed = [*passed, CLIENT_HEADER, b": ", b"<of the key>", b"\r\n"]
    return state


def _without_route(match: Match) -> Iterator[Line]:
    path = match.target.partition(b"?")[0]
    if is_internal(path):
        yield Line("why", "/internal is never reachable from outside, in any spelling")
    else:
        yield Line("why", "no route matches; the gateway itself serves only /health, /metrics, /docs …")
    yield Line("result", "the gateway's own response, or 404 not_found (client, route)", OWN)


def _about(route: Route, path: bytes, table: RouteTable, request: Request) -> Iterator[Line]:
    policy = route.policy
    yield Line("route", f"{route.name}: {_place(route)}")
    yield Line("why", _why(route, table, request))
    public = (
        " (public by default, so that users can sign in)" if _is_public(route, request.method, path) else ""
    )
    yield Line("auth", policy.auth + public)
    if policy.api_keys:
        yield Line("auth", "or an API key")
    if policy.roles:
        yield Line("roles", f"any of {', '.join(sorted(policy.roles))}")
    if policy.scopes:
        yield Line("scopes", f"all of {', '.join(sorted(policy.scopes))}")
    yield from _addresses(policy)
    if policy.claims:
        yield Line("claims", ", and ".join(map(str, policy.claims)))
    yield Line("limits", _limits(policy))
    times = policy.timeouts
    yield Line(
        "timeouts", f"connect {times.connect:g} s, first byte {times.first_byte:g} s, idle {times.idle:g} s"
    )
    yield from _targets(route)
    yield from _answers(policy)


def _addresses(policy: Policy) -> Iterator[Line]:
    for verb, networks in (("allow", policy.ip.allow), ("deny", policy.ip.deny)):
        if networks:
            yield Line("ip", f"{verb} {', '.join(map(str, networks))}")


def _answers(policy: Policy) -> Iterator[Line]:
    """List what happens to the headers of a response."""
    changes = policy.headers.response.shown()
    for verb in ("set", "add", "remove"):
        for line in changes[verb]:
            yield Line("answer", f"{verb} {line}")
    for line in policy.security_headers.lines:
        yield Line("answer", f"unless the service sends its own: {line}")


def _targets(route: Route) -> Iterator[Line]:
    upstream, retry = route.upstream, route.upstream.retry
    for share in upstream.shares:
        weight = f" (weight {share.weight})" if len(upstream.shares) > 1 else ""
        yield Line("target", share.target.origin.url + weight)
    if route.split is not None:
        header = b": ".join(route.split.header).decode() if route.split.header else ""
        who = f"callers that send {header}" if header else f"{route.split.weight:.4g} of the callers"
        for origin in route.split.upstream.origins:
            yield Line("split", f"{origin.url} for {who}")
    spread = f"{upstream.balance}, " if len(upstream.shares) > 1 else ""
    budget = f"{retry.budget:.0%} of all requests"
    yield Line("attempts", f"{spread}at most {retry.attempts} retries, within a budget of {budget}")


def _place(route: Route) -> str:
    methods = ", ".join(sorted(method.decode() for method in route.policy.methods))
    hosts = f" at {', '.join(route.hosts)}" if route.hosts else ""
    return f"{route.path.decode()}{' exactly' if route.exact else ' and below'}{hosts} for {methods}"


def _why(winner: Route, table: RouteTable, request: Request) -> str:
    """Return which other routes would have matched the request."""
    others = [route for route in table.routes if route is not winner and _fits(route, table, request)]
    if not others:
        return "no other route matches"
    named = ", ".join(f"{route.name} ({_place(route)})" for route in others)
    return f"more specific (host, then path, then method) than {named}"


def _fits(route: Route, table: RouteTable, request: Request) -> bool:
    try:
        return match_of(RouteTable([route], table.aliases), request).route is not None
    except BadPath:
        return False


def _limits(policy: Policy) -> str:
    per = [
        f"{limit.count} requests per {limit.seconds:g} s and {limit.key}, burst {limit.burst}"
        for limit in policy.rate_limits
    ]
    if policy.concurrency is not None:
        per.append(f"{policy.concurrency.max} in progress per {policy.concurrency.key}")
    return "; ".join((*per, f"body up to {policy.body_max} bytes"))


def _is_public(route: Route | None, method: bytes, path: bytes) -> bool:
    return route is not None and route.policy.auth != "none" and route.is_public(method, path)


def _end(state: RequestState) -> Line | None:
    """Run the steps that need no running gateway; return their result, or None if the request passes."""
    for step in STEPS:
        try:
            if step.foresee(state) is not None:
                return Line("result", "204, a preflight", OWN)
        except Refusal as refusal:
            more = f" ({state.address})" if refusal.kind is errors.IP_DENIED else ""
            allowed = refusal.headers.get("Allow")
            return _refused(refusal.kind, f" Allow: {allowed}" if allowed else more)
    return None


def _refused(kind: Kind, more: str = "") -> Line:
    result = f"{kind.status} {kind.code} ({kind.source}, {kind.phase}): {kind.words}{more}"
    return Line("result", result, REFUSED)


def _end_as(role: str, state: RequestState) -> Line | None:
    """Return the refusal of a person with this role, if the route does not admit them."""
    if _is_public(state.match.route, state.request.method, state.match.path):
        return None
    someone = Caller("", role, None, None, None, frozenset(), math.inf)
    try:
        require(state.policy, someone)
    except Refusal as refusal:
        return _refused(refusal.kind, f" {refusal.detail}")
    return None


def _verdict(route: Route, state: RequestState, *, is_known: bool) -> str:
    if is_known:
        return "forwarded if the limits allow it"
    shows_key, has_token = _shows_key(state), b"authorization" in state.fields.seen
    if (has_token or shows_key) and not route.is_public(state.request.method, state.match.path):
        shown = "key" if shows_key else "token"
        return f"forwarded if the {shown} is valid and meets the requirements, and the limits allow it"
    return "forwarded if the limits allow it"


def _shows_key(state: RequestState) -> bool:
    return state.policy.api_keys and bool(keys_shown(state))
