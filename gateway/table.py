"""The routing table: which path goes where and under which policy. Immutable once it is built."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote_to_bytes

from gateway.cors import Cors

MIB = 1 << 20
NO_CORS = Cors()

Auth = Literal["required", "optional", "none"]
LimitKey = Literal["user", "ip"]

# What has to be open for anybody to get in at all. A route for exactly one of these paths that says
# `auth:` has the last word.
PUBLIC = frozenset(
    (b"POST", path) for path in (b"/auth/register", b"/auth/login", b"/auth/refresh", b"/auth/logout")
)
WELL_KNOWN = b"/.well-known"
OWN = (b"/health", b"/metrics", b"/docs", b"/openapi.json")
INTERNAL = b"internal"

_PLAIN = re.compile(rb"(?:/[A-Za-z0-9_~-][A-Za-z0-9_~.-]*)+/?")
_TARGET = re.compile(rb"/[!\"$-\[\]-~]*(?:\?[!\"$-~]*)?")
_DOT_SEGMENT = re.compile(rb"(?:^|[/\\])\.{1,2}(?:[/\\;]|$)")
_PARAMETERS = re.compile(rb";[^/\\]*")
_SEPARATORS = re.compile(rb"[/\\]+")
_DECODING_ROUNDS_MAX = 4


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a service listens."""

    host: str
    port: int

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 80 else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.authority}"


@dataclass(frozen=True, slots=True)
class RateLimit:
    """`count` requests per `seconds` on average, `burst` at once, counted per user or per address."""

    count: int = 100
    seconds: float = 1.0
    burst: int = 200
    key: LimitKey = "user"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """One limit per phase; there is none on the whole, which would cut streams."""

    connect: float = 2.0
    first_byte: float = 30.0
    idle: float = 60.0


@dataclass(frozen=True, slots=True)
class Policy:
    """What a route demands; the defaults are those of the built-in `defaults:`."""

    methods: frozenset[bytes] = frozenset((b"GET", b"POST", b"PUT", b"PATCH", b"DELETE"))
    auth: Auth = "required"
    auth_stated: bool = False
    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    rate_limit: RateLimit = RateLimit()
    timeouts: Timeouts = Timeouts()
    body_max: int = 10 * MIB
    cors: Cors = NO_CORS


@dataclass(frozen=True, slots=True)
class Route:
    """Everything below one path, forwarded to one backend."""

    path: bytes
    name: str
    backend: Origin
    policy: Policy

    def allows(self, method: bytes) -> bool:
        methods = self.policy.methods
        return method in methods or (method == b"HEAD" and b"GET" in methods)

    def is_public(self, method: bytes, path: bytes) -> bool:
        """Whether a token is not even looked at."""
        policy = self.policy
        if policy.auth == "none":
            return True
        return (method, path) in PUBLIC and not (policy.auth_stated and path == self.path)

    @property
    def allow_header(self) -> str:
        methods = set(self.policy.methods)
        if b"GET" in methods:
            methods.add(b"HEAD")
        return ", ".join(sorted(method.decode() for method in methods))


@dataclass(frozen=True, slots=True)
class Alias:
    """A second spelling: `path` is replaced by `to`, and the result is matched against the routes."""

    path: bytes
    to: bytes
    envelope: bool

    def inward(self, target: bytes) -> bytes:
        return _replace_prefix(target, self.path, self.to)

    def outward(self, target: bytes) -> bytes:
        """The same address in this spelling, so that links in answers stay in the caller's world."""
        return _replace_prefix(target, self.to, self.path) if _is_under(target, self.to) else target


@dataclass(frozen=True, slots=True)
class Match:
    """What the table says to one target; without a route the gateway answers itself."""

    route: Route | None
    target: bytes
    path: bytes
    alias: Alias | None


class BadPath(Exception):
    """The path could be read in two ways."""


class RouteTable:
    """Finds the most specific route; one dictionary look-up per leading segment of the path."""

    def __init__(
        self, routes: Iterable[Route], aliases: Iterable[Alias] = (), cors: Cors = NO_CORS, digest: str = ""
    ) -> None:
        self.routes = tuple(routes)
        self.aliases = tuple(aliases)
        self.cors = cors
        self.digest = digest  # of the file, to know it again
        own: dict[bytes, Route | Alias | None] = dict.fromkeys(OWN)
        self._direct = own | {route.path: route for route in self.routes}
        self._all = self._direct | {alias.path: alias for alias in self.aliases}
        self._depth = max(path.count(b"/") for path in self._all)

    @property
    def origins(self) -> dict[str, Origin]:
        """Every backend once, under the name of the first route that leads there."""
        names: dict[Origin, str] = {}
        for route in self.routes:
            names.setdefault(route.backend, route.name)
        return {name: origin for origin, name in names.items()}

    def match(self, target: bytes) -> Match:
        """Where this target leads. The bytes that are matched are the bytes that are forwarded."""
        path = _checked_path(target)
        found = self._only(self._all, path)
        alias = found if isinstance(found, Alias) else None
        if alias is not None:
            target = alias.inward(target)
            path = _checked_path(target)
            found = self._only(self._direct, path)
        route = found if isinstance(found, Route) and not is_internal(path) else None
        return Match(route, target, path, alias)

    def _only(self, entries: dict[bytes, Route | Alias | None], path: bytes) -> Route | Alias | None:
        """The entry of a path, which every reader must find.

        Services decode what they are sent, some drop empty segments and parameters. `/auth/%6cogin` would
        be login there, and here only something under /auth, with another limit and other roles.
        """
        found = self._find(entries, path)
        if found is not None and not _PLAIN.fullmatch(path):
            as_others_read = _SEPARATORS.sub(b"/", _PARAMETERS.sub(b"", _decoded(path)))
            if self._find(entries, as_others_read) is not found:
                raise BadPath
        return found

    def _find(self, entries: dict[bytes, Route | Alias | None], path: bytes) -> Route | Alias | None:
        prefix = path
        if path.count(b"/") > self._depth:
            prefix = b"/".join(path.split(b"/", self._depth + 1)[: self._depth + 1])
        while prefix:
            if prefix in entries:
                return entries[prefix]
            prefix = prefix[: prefix.rfind(b"/")]
        return entries.get(b"/")


def is_internal(path: bytes) -> bool:
    """Whether any service might read this path as its internal API, however it is written."""
    if _PLAIN.fullmatch(path):
        first = path[1:].partition(b"/")[0]
    else:
        first = re.split(rb"[/\\]", _decoded(path).lstrip(b"/\\"), maxsplit=1)[0]
        # Parameters, spaces, NUL bytes and the like behind the word do not make it another word.
        first = re.split(rb"[^A-Za-z0-9_~.-]", first, maxsplit=1)[0] or first
    return first.lower() == INTERNAL


def _checked_path(target: bytes) -> bytes:
    """The path of a target, unless two parties could disagree about what it means."""
    path = target.partition(b"?")[0]
    if _PLAIN.fullmatch(path) and b"#" not in target:
        return path
    if not _TARGET.fullmatch(target) or _DOT_SEGMENT.search(_decoded(path)):
        raise BadPath
    return path


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
