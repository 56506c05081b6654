"""What would become of one request, and why: `gatehouse routes explain`, by the code that really does it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast
from urllib.parse import urlsplit

from gateway import errors
from gateway.errors import Kind
from gateway.forwarding.exchange import Exchange
from gateway.forwarding.heads import cors_of, upstream_head
from gateway.http.headers import Fields, Header, Request
from gateway.routing.header_changes import masked
from gateway.routing.request_target import host_of, match_of
from gateway.routing.table import BadPath, Match, Policy, Route, RouteTable, is_internal
from gateway.runtime.gateway import Routing
from shared.process.proxies import Proxies

PEER = "127.0.0.1"
API_KEY_HEADER = b"x-api-key"  # or whatever the gateway that runs has been told


class Line(NamedTuple):
    """One thing to know about the request."""

    name: str
    words: str


class _Client:
    """The connection that a request comes by."""

    scheme = "http"

    def __init__(self, address: str) -> None:
        self.peer = address


class _Gateway:
    """A gateway that trusts no proxy."""

    proxies = Proxies(())


class _Asked:
    """As much of an exchange as the head for the backend is made of."""

    def __init__(self, request: Request, match: Match, routing: Routing, address: str) -> None:
        self.request, self.match, self.routing = request, match, routing
        self.route = match.route
        targets = [] if match.route is None else [share.target for share in match.route.upstream.shares]
        self.backend = routing.backends[targets[0]] if targets else None
        self.fields = Fields(request.headers)
        if match.route is not None and _shows_key(match.route, request):
            self.fields.passed = self.fields.passed_without(API_KEY_HEADER)
            self.fields.passed += (b"x-gatehouse-client", b": ", b"<of the key>", b"\r\n")
        self.client, self.gateway = _Client(address), _Gateway()
        self.address = address
        self.id_line = b"x-request-id: <new>\r\n"


def explain(
    table: RouteTable, method: str, url: str, headers: Sequence[str], address: str = PEER
) -> list[Line]:
    """One line per step; the last one says what becomes of the request."""
    request = _request(method, url, headers)
    lines = [Line("request", f"{method} {request.target.decode()} at host {host_of(request) or '(none)'}")]
    try:
        match = match_of(table, request)
    except BadPath:
        return [*lines, _refused(errors.BAD_PATH)]
    if match.alias is not None:
        spelled = f"{match.alias.path.decode()} stands for {match.alias.to.decode()}"
        envelope = ", answers in the v1 envelope" if match.alias.envelope else ""
        lines.append(Line("alias", f"{spelled}: {match.path.decode()}{envelope}"))
    if match.route is None:
        return [*lines, *_without_route(match)]
    lines += _about(match.route, match.path, table, request)
    asked = _asked(request, match, table, address)
    refusal = _refusal(asked)
    if refusal is not None:
        return [*lines, refusal]
    head = upstream_head(asked).decode("latin-1").strip().splitlines()
    return [
        *lines,
        *(Line("sent", masked(each)) for each in head),
        Line("result", _verdict(match.route, match.path, request)),
    ]


def _request(method: str, url: str, headers: Sequence[str]) -> Request:
    parts = urlsplit(url)
    target = url[url.index(parts.netloc) + len(parts.netloc) :] if parts.netloc else url
    fields: list[Header] = []
    for line in headers:
        name, _, value = line.partition(":")
        fields.append((name.strip().lower().encode("latin-1"), value.strip().encode("latin-1")))
    if parts.netloc and not any(name == b"host" for name, _ in fields):
        fields.insert(0, (b"host", parts.netloc.encode("latin-1")))
    target = target.partition("#")[0]  # clients keep that part to themselves
    return Request(method.upper().encode("latin-1"), (target or "/").encode("latin-1", "replace"), fields)


def _asked(request: Request, match: Match, table: RouteTable, address: str) -> Exchange:
    return cast("Exchange", _Asked(request, match, Routing(table), address))


def _without_route(match: Match) -> Iterator[Line]:
    path = match.target.partition(b"?")[0]
    if is_internal(path):
        yield Line("why", "/internal is never reachable from outside, however it is written")
    else:
        yield Line(
            "why", "no route fits; what is left the gateway answers itself: /health, /metrics, /docs …"
        )
    yield Line("result", "the gateway's own answer, else 404 not_found (client, route)")


def _about(route: Route, path: bytes, table: RouteTable, request: Request) -> Iterator[Line]:
    policy = route.policy
    yield Line("route", f"{route.name}: {_place(route)}")
    yield Line("why", _why(route, table, request))
    public = (
        " (public by itself: nobody could get in otherwise)"
        if _is_public(route, request.method, path)
        else ""
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
    """What becomes of the fields of an answer."""
    changes = policy.headers.response.shown()
    for verb in ("set", "add", "remove"):
        for line in changes[verb]:
            yield Line("answer", f"{verb} {line}")
    for line in policy.security_headers.lines:
        yield Line("answer", f"unless the service says so itself: {line}")


def _targets(route: Route) -> Iterator[Line]:
    upstream, retry = route.upstream, route.upstream.retry
    for share in upstream.shares:
        weight = f" (weight {share.weight})" if len(upstream.shares) > 1 else ""
        yield Line("target", share.target.origin.url + weight)
    if route.split is not None:
        header = b": ".join(route.split.header).decode() if route.split.header else ""
        who = f"those who send {header}" if header else f"{route.split.weight:.4g} of the callers"
        for origin in route.split.upstream.origins:
            yield Line("split", f"{origin.url} for {who}")
    spread = f"{upstream.balance}, " if len(upstream.shares) > 1 else ""
    yield Line("attempts", f"{spread}{retry.attempts} more at most, and {retry.budget:.0%} of all requests")


def _place(route: Route) -> str:
    methods = ", ".join(sorted(method.decode() for method in route.policy.methods))
    hosts = f" at {', '.join(route.hosts)}" if route.hosts else ""
    return f"{route.path.decode()}{' exactly' if route.exact else ' and below'}{hosts} for {methods}"


def _why(winner: Route, table: RouteTable, request: Request) -> str:
    """Who else would have taken the request."""
    others = [route for route in table.routes if route is not winner and _fits(route, table, request)]
    if not others:
        return "no other route fits"
    named = ", ".join(f"{route.name} ({_place(route)})" for route in others)
    return f"more specific (host, then path, then method) than {named}"


def _fits(route: Route, table: RouteTable, request: Request) -> bool:
    try:
        return match_of(RouteTable([route], table.aliases), request).route is not None
    except BadPath:
        return False


def _limits(policy: Policy) -> str:
    per = [
        f"{limit.count} requests per {limit.seconds:g} s and {limit.key}, {limit.burst} at once"
        for limit in policy.rate_limits
    ]
    if policy.concurrency is not None:
        per.append(f"{policy.concurrency.max} under way per {policy.concurrency.key}")
    return "; ".join((*per, f"body up to {policy.body_max} bytes"))


def _is_public(route: Route, method: bytes, path: bytes) -> bool:
    return route.policy.auth != "none" and route.is_public(method, path)


def _refusal(asked: Exchange) -> Line | None:
    """Why the gateway would answer itself, in the order in which it looks."""
    request, match, route, seen = asked.request, asked.match, asked.route, asked.fields.seen
    assert route is not None
    if not route.policy.ip.lets_in(asked.address):
        return _refused(errors.IP_DENIED, f" ({asked.address})")
    if request.method == b"OPTIONS" and b"access-control-request-method" in seen and b"origin" in seen:
        permission = cors_of(asked).preflight_headers(seen[b"origin"], match.allow_header)
        return Line("result", "204, a preflight") if permission else _refused(errors.ORIGIN_DENIED)
    if not route.allows(request.method):
        return _refused(errors.METHOD_NOT_ALLOWED, f" Allow: {match.allow_header}")
    needs_token = route.policy.auth == "required" or route.policy.demands_of_caller
    shows_one = b"authorization" in seen or _shows_key(route, request)
    if needs_token and not shows_one and not route.is_public(request.method, match.path):
        return _refused(errors.UNAUTHENTICATED)
    length = seen.get(b"content-length", b"0")
    if length.isdigit() and int(length) > route.policy.body_max:
        return _refused(errors.BODY_TOO_LARGE)
    return None


def _refused(kind: Kind, more: str = "") -> Line:
    return Line("result", f"{kind.status} {kind.code} ({kind.source}, {kind.phase}): {kind.words}{more}")


def _verdict(route: Route, path: bytes, request: Request) -> str:
    has_token = any(name == b"authorization" for name, _ in request.headers)
    shown = "key" if _shows_key(route, request) else "token"
    if (has_token or shown == "key") and not route.is_public(request.method, path):
        return f"forwarded, if the {shown} is valid and grants what is demanded, and the limits allow it"
    return "forwarded, if the limits allow it"


def _shows_key(route: Route, request: Request) -> bool:
    return route.policy.api_keys and any(name == API_KEY_HEADER for name, _ in request.headers)
