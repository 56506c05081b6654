"""The routing table: which path goes where and under which policy. Immutable once built."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple
from urllib.parse import unquote_to_bytes

from gateway.routing.addresses import AddressRule
from gateway.routing.claims import Condition
from gateway.routing.cors import Cors
from gateway.routing.header_changes import HeaderPolicy, SecurityHeaders
from gateway.routing.path_tree import Places, is_parameter, segments, shape
from gateway.routing.upstreams import Balance, Care, Origin, Retry, Split, Target, Upstream

MIB = 1 << 20
NO_CORS = Cors()
USUAL_RETRY = Retry()
USUAL_CARE = Care()
USUAL_HEADERS = HeaderPolicy()
NO_SECURITY = SecurityHeaders()
ANYBODY = AddressRule()

LimitScope = Literal["shared", "local"]  # counted across all gateways if there is Redis, or in each process
Auth = Literal["required", "optional", "none"]

# Paths that must be public so that callers can sign in. A route for exactly one of these paths overrides
# this if it has `auth:`.
PUBLIC = frozenset(
    (b"POST", path) for path in (b"/auth/register", b"/auth/login", b"/auth/refresh", b"/auth/logout")
)
WELL_KNOWN = b"/.well-known"
OWN = (b"/health", b"/metrics", b"/docs", b"/openapi.json")
INTERNAL = b"internal"

# A path that has only one interpretation and is not the internal API: one check instead of five.
_PLAIN = re.compile(rb"(?!/(?i:internal)(?:[/?]|\Z))((?:/[A-Za-z0-9_~-][A-Za-z0-9_~.-]*)+/?)(?:\?[^#]*)?")
_TARGET = re.compile(rb"/[!\"$-\[\]-~]*(?:\?[!\"$-~]*)?")
_DOT_SEGMENT = re.compile(rb"(?:^|[/\\])\.{1,2}(?:[/\\;]|$)")
_PARAMETERS = re.compile(rb";[^/\\]*")
_SEPARATORS = re.compile(rb"[/\\]+")
_DECODING_ROUNDS_MAX = 4


@dataclass(frozen=True, slots=True)
class RateLimit:
    """`count` requests per `seconds` on average, `burst` at once, for each value of `key`."""

    count: int = 100
    seconds: float = 1.0
    burst: int = 200
    key: str = "user"  # `user`, `ip`, `client`, `route`, or some of them joined by `+`
    store: LimitScope = "shared"


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How many requests and open sockets each value of `key` may have at one time."""

    max: int
    key: str = "user"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """One timeout per phase; a total one would abort streams."""

    connect: float = 2.0
    first_byte: float = 30.0
    idle: float = 60.0


@dataclass(frozen=True, slots=True)
class Policy:
    """The policy of a route; the defaults are those of the built-in `defaults:`."""

    methods: frozenset[bytes] = frozenset((b"GET", b"POST", b"PUT", b"PATCH", b"DELETE"))
    auth: Auth = "required"
    auth_stated: bool = False
    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    api_keys: bool = False  # one may be sent instead of a token
    claims: tuple[Condition, ...] = ()  # all must hold
    rate_limits: tuple[RateLimit, ...] = (RateLimit(),)  # all apply
    concurrency: Concurrency | None = None
    timeouts: Timeouts = Timeouts()
    balance: Balance = "p2c"
    retry: Retry = USUAL_RETRY
    care: Care = USUAL_CARE
    body_max: int = 10 * MIB
    cors: Cors = NO_CORS
    headers: HeaderPolicy = USUAL_HEADERS
    security_headers: SecurityHeaders = NO_SECURITY
    ip: AddressRule = ANYBODY

    @property
    def demands_of_caller(self) -> bool:
        return bool(self.roles or self.scopes or self.claims)

    @property
    def changes_answers(self) -> bool:
        return self.headers is not USUAL_HEADERS or self.security_headers is not NO_SECURITY


@dataclass(frozen=True, slots=True)
class Route:
    """Everything below one path, or exactly that path, and the targets it is forwarded to."""

    path: bytes
    name: str
    upstream: Upstream
    policy: Policy
    hosts: tuple[str, ...] = ()  # empty: any
    exact: bool = False
    rewrite: bytes | None = None  # replaces the path sent to the backend; may contain `{name}`s
    split: Split | None = None  # other targets for some callers

    @property
    def upstreams(self) -> tuple[Upstream, ...]:
        return (self.upstream,) if self.split is None else (self.upstream, self.split.upstream)

    @property
    def targets(self) -> frozenset[Target]:
        return frozenset(share.target for upstream in self.upstreams for share in upstream.shares)

    def allows(self, method: bytes) -> bool:
        methods = self.policy.methods
        return method in methods or (method == b"HEAD" and b"GET" in methods)

    def is_public(self, method: bytes, path: bytes) -> bool:
        """Whether tokens are ignored."""
        policy = self.policy
        if policy.auth == "none":
            return True
        return (method, path) in PUBLIC and not (policy.auth_stated and path == self.path)

    def moved(self, path: bytes) -> tuple[bytes, bytes]:
        """Return the part of this path that is replaced, and its replacement."""
        assert self.rewrite is not None
        pattern = segments(self.path)
        parts = path.split(b"/", len(pattern) + 1)[1 : len(pattern) + 1]
        found = dict(zip(pattern, parts, strict=True))
        inner = [found.get(part, part) if is_parameter(part) else part for part in segments(self.rewrite)]
        return b"/" + b"/".join(parts if pattern else ()), b"/" + b"/".join(inner)


@dataclass(frozen=True, slots=True)
class Alias:
    """A second prefix: `path` is replaced by `to`, and the result is matched against the routes."""

    path: bytes
    to: bytes
    envelope: bool

    def inward(self, target: bytes) -> bytes:
        return _replace_prefix(target, self.path, self.to)

    def outward(self, target: bytes) -> bytes:
        """Return this URL under the alias that the caller used, for links in responses."""
        return _replace_prefix(target, self.to, self.path) if _is_under(target, self.to) else target


class Match(NamedTuple):
    """The result of a lookup; without a route, the gateway itself responds."""

    route: Route | None
    target: bytes  # as it is forwarded
    path: bytes  # as it was matched
    alias: Alias | None
    place: tuple[Route, ...] = ()  # all routes of this path, one for each set of methods
    moved: tuple[bytes, bytes] | None = None  # what was replaced in the path, and by what

    @property
    def allow_header(self) -> str:
        methods = {method for route in self.place for method in route.policy.methods}
        if b"GET" in methods:
            methods.add(b"HEAD")
        return ", ".join(sorted(method.decode() for method in methods))

    def outward(self, target: bytes) -> bytes:
        """Translate a backend URL into one that the caller can use."""
        if self.moved is not None:
            outer, inner = self.moved
            target = _replace_prefix(target, inner, outer) if _is_under(target, inner) else target
        return target if self.alias is None else self.alias.outward(target)


class BadPath(Exception):
    """The path is ambiguous or malformed."""


class _Own:
    """The gateway itself responds at this path."""


Entry = tuple[Route, ...] | Alias | _Own
_OWN = _Own()


class RouteTable:
    """Finds the most specific route: first by host, then by path, then by method."""

    def __init__(
        self, routes: Iterable[Route], aliases: Iterable[Alias] = (), cors: Cors = NO_CORS, digest: str = ""
    ) -> None:
        self.routes = tuple(routes)
        self.aliases = tuple(aliases)
        self.cors = cors
        self.digest = digest  # of the file, to detect changes
        self._any_host = _places(self.routes, "")
        self._spelled = _places(self.routes, "", self.aliases)
        self._hosts = {
            host: _places(self.routes, host)
            for host in {host for route in self.routes for host in route.hosts}
        }
        self.has_hosts = bool(self._hosts)

    @property
    def services(self) -> dict[str, tuple[Origin, ...]]:
        """The origins of every service, by the name of the first route that leads there."""
        names: dict[tuple[Origin, ...], str] = {}
        for route in self.routes:
            names.setdefault(route.upstream.origins, route.name)
        return {name: origins for origins, name in names.items()}

    def match(self, target: bytes, method: bytes = b"GET", host: str = "") -> Match:
        """Look up a request. The matched bytes are forwarded unless the route rewrites them."""
        path, is_plain = _path_of(target)
        found = self._entry(self._spelled, path, host, is_plain=is_plain)
        alias = found if isinstance(found, Alias) else None
        if alias is not None:
            target = alias.inward(target)
            path, is_plain = _path_of(target)
            found = self._entry(self._any_host, path, host, is_plain=is_plain)
        if not isinstance(found, tuple) or (not is_plain and is_internal(path)):
            return Match(None, target, path, alias)
        route = found[0]
        if len(found) > 1:
            route = next((each for each in found if each.allows(method)), route)
        moved = None
        if route.rewrite is not None:
            moved = route.moved(path)
            target = _replace_prefix(target, *moved)
            if is_internal(target.partition(b"?")[0]):
                return Match(None, target, path, alias)
        return Match(route, target, path, alias, found, moved)

    def _entry(self, any_host: Places[Entry], path: bytes, host: str, *, is_plain: bool) -> Entry | None:
        """Return the entry of a path; raise BadPath if another parser could find a different one.

        Services decode paths, and some drop empty segments and parameters. To them `/auth/%6cogin` is
        /auth/login; here it would be just another path under /auth, with another limit and other roles.
        """
        if not self._hosts and is_plain:
            return any_host.find(path)
        places = [*self._of_host(host), any_host] if self._hosts else (any_host,)
        found = _find(places, path)
        if found is not None and not is_plain:
            as_others_read = _SEPARATORS.sub(b"/", _PARAMETERS.sub(b"", _decoded(path)))
            if _find(places, as_others_read) is not found:
                raise BadPath
        return found

    def _of_host(self, host: str) -> list[Places[Entry]]:
        """Return the tree of this exact host, then those of matching `*.` patterns, the longest first."""
        names, rest = [host], host
        while rest:
            rest = rest.partition(".")[2]
            names.append(f"*.{rest}")
        return [self._hosts[name] for name in names if name in self._hosts]


def _places(routes: Iterable[Route], host: str, aliases: Iterable[Alias] = ()) -> Places[Entry]:
    places: Places[Entry] = Places()
    for path in OWN:
        places.add(path, _OWN)
    for alias in aliases:
        places.add(alias.path, alias)
    together: dict[tuple[bytes, bool], list[Route]] = {}
    for route in routes:
        if host in (route.hosts or ("",)):
            together.setdefault((shape(route.path), route.exact), []).append(route)
    for (path, exact), found in together.items():
        places.add(path, tuple(found), exact=exact)
    return places


def _find(places: Sequence[Places[Entry]], path: bytes) -> Entry | None:
    for each in places:
        found = each.find(path)
        if found is not None:
            return found
    return None


def is_internal(path: bytes) -> bool:
    """Whether a service could read this path as its internal API, in any spelling."""
    first = re.split(rb"[/\\]", _decoded(path).lstrip(b"/\\"), maxsplit=1)[0]
    # Parameters, spaces, NUL bytes and the like after the word do not make it a different word.
    first = re.split(rb"[^A-Za-z0-9_~.-]", first, maxsplit=1)[0] or first
    return first.lower() == INTERNAL


def _path_of(target: bytes) -> tuple[bytes, bool]:
    """Return the path of a target and whether it is plain; raise BadPath if parsers could disagree."""
    plain = _PLAIN.fullmatch(target)
    if plain is not None:
        return plain[1], True
    path = target.partition(b"?")[0]
    if not _TARGET.fullmatch(target) or _DOT_SEGMENT.search(_decoded(path)):
        raise BadPath
    return path, False


def _decoded(path: bytes) -> bytes:
    for _ in range(_DECODING_ROUNDS_MAX):
        decoded = unquote_to_bytes(path)
        if decoded == path:
            break
        path = decoded
    return path


def _is_under(target: bytes, prefix: bytes) -> bool:
    if prefix == b"/":
        return target.startswith(b"/")
    return target.startswith(prefix) and target[len(prefix) : len(prefix) + 1] in (b"", b"/", b"?")


def _replace_prefix(target: bytes, prefix: bytes, replacement: bytes) -> bytes:
    rest = target if prefix == b"/" else target[len(prefix) :]
    if replacement == b"/":
        return rest if rest.startswith(b"/") else b"/" + rest
    return replacement if rest == b"/" and prefix == b"/" else replacement + rest
