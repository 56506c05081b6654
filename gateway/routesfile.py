"""routes.yaml made into a routing table, or into the list of everything that is wrong with it."""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TypeVar, cast
from urllib.parse import urlsplit

from gateway.cors import DEVELOPMENT_ORIGINS, Cors
from gateway.nodes import Fault, Faults, Value, compose
from gateway.table import (
    OWN,
    WELL_KNOWN,
    Alias,
    Auth,
    LimitKey,
    Origin,
    Policy,
    RateLimit,
    Route,
    RouteTable,
    Timeouts,
    is_internal,
)

T = TypeVar("T")

FILE_BYTES_MAX = 1 << 20
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
AUTH = ("required", "optional", "none")
POLICY_KEYS = ("methods", "auth", "roles", "scopes", "rate_limit", "timeout", "body_max", "cors")
ROUTE_KEYS = ("path", "backend", "name", *POLICY_KEYS)
_PATH = re.compile(r"/|(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]+)+")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_ORIGIN = re.compile(r"\*|https?://(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::(?:\d{1,5}|\*))?")


class RoutesFileError(Exception):
    """The file cannot be used; the message holds one line per fault."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def load(file: Path, *, development: bool) -> RouteTable:
    """Read the file whole, or raise RoutesFileError with every fault in it."""
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise RoutesFileError(f"{file}: cannot be read ({error.strerror}); set ROUTES_FILE") from error
    if len(raw) > FILE_BYTES_MAX:
        raise RoutesFileError(f"{file}: is larger than {FILE_BYTES_MAX} bytes")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise RoutesFileError(f"{file}: is not UTF-8") from error
    return parse(text, str(file), development=development)


def parse(text: str, file: str, *, development: bool) -> RouteTable:
    faults = Faults(file)
    root = compose(text, faults)
    digest = hashlib.sha256(text.encode()).hexdigest()
    table = root.read(lambda value: _table(value, digest, development=development), None) if root else None
    if faults.in_order() or table is None:
        raise RoutesFileError(*faults.in_order())
    return table


def _table(root: Value, digest: str, *, development: bool) -> RouteTable:
    keys = root.mapping(("routes", "defaults", "cors", "aliases"))
    base = Cors(origins=DEVELOPMENT_ORIGINS) if development else Cors()
    cors = _field(keys, "cors", lambda value: _cors(value, base), base)
    defaults = _field(keys, "defaults", lambda value: _defaults(value, cors), Policy(cors=cors))
    if "routes" not in keys:
        raise Fault("has no `routes:`")
    no_routes: list[tuple[Value, Route]] = []
    no_aliases: list[tuple[Value, Alias]] = []
    routes = _field(
        keys, "routes", lambda value: _each(value, lambda item: _route(item, defaults)), no_routes
    )
    aliases = _field(keys, "aliases", lambda value: _each(value, _alias), no_aliases)
    # What has no usable path was told so already; it would only take part in misleading comparisons.
    placed = [item for item in routes if item[1].path]
    _check_places([*placed, *(item for item in aliases if item[1].path)])
    _check_names(placed)
    _check_aliases(aliases, [route.path for _, route in placed])
    table = [route for _, route in routes]
    return RouteTable([*table, *_well_known(table)], [alias for _, alias in aliases], cors, digest)


def _defaults(value: Value, cors: Cors) -> Policy:
    return _policy(value.mapping(POLICY_KEYS), Policy(cors=cors))


def _route(value: Value, defaults: Policy) -> Route:
    keys = value.mapping(ROUTE_KEYS)
    for key in ("path", "backend"):
        if key not in keys:
            value.fault(f"has no `{key}:`")
    path = _field(keys, "path", _path, "")
    name = _field(keys, "name", _name, path.strip("/").replace("/", "-").lstrip(".").lower() or "root")
    policy = _policy(keys, replace(defaults, auth_stated=False))
    if path.encode() == WELL_KNOWN and not policy.auth_stated:
        policy = replace(policy, auth="none")
    return Route(path.encode(), name, _field(keys, "backend", _backend, Origin("", 0)), policy)


def _policy(keys: dict[str, Value], base: Policy) -> Policy:
    return Policy(
        methods=_field(keys, "methods", _methods, base.methods),
        auth=_field(keys, "auth", _auth, base.auth),
        auth_stated="auth" in keys,
        roles=_field(keys, "roles", _words, base.roles),
        scopes=_field(keys, "scopes", _words, base.scopes),
        rate_limit=_field(
            keys, "rate_limit", lambda value: _rate_limit(value, base.rate_limit), base.rate_limit
        ),
        timeouts=_field(keys, "timeout", lambda value: _timeouts(value, base.timeouts), base.timeouts),
        body_max=_field(keys, "body_max", Value.size, base.body_max),
        cors=_field(keys, "cors", lambda value: _cors(value, base.cors), base.cors),
    )


def _rate_limit(value: Value, base: RateLimit) -> RateLimit:
    keys = value.mapping(("rate", "burst", "key"))
    count, seconds = _field(keys, "rate", Value.rate, (base.count, base.seconds))
    # A new rate without a burst of its own allows one second's worth, or one request, at once.
    fallback = max(1, round(count / seconds)) if "rate" in keys else base.burst
    burst = _field(keys, "burst", Value.whole, fallback)
    key = _field(keys, "key", _limit_key, base.key)
    return RateLimit(count, seconds, burst, key)


def _auth(value: Value) -> Auth:
    return cast("Auth", value.choice(AUTH))


def _limit_key(value: Value) -> LimitKey:
    return cast("LimitKey", value.choice(("user", "ip")))


def _timeouts(value: Value, base: Timeouts) -> Timeouts:
    names = [field.name for field in fields(Timeouts)]
    keys = value.mapping(names)
    return Timeouts(**{name: _field(keys, name, Value.duration, getattr(base, name)) for name in names})


def _cors(value: Value, base: Cors) -> Cors:
    keys = value.mapping(("origins", "methods", "headers", "credentials", "max_age"))
    cors = Cors(
        origins=_field(keys, "origins", _origins, base.origins),
        methods=_field(keys, "methods", Value.texts, base.methods),
        headers=_field(keys, "headers", Value.texts, base.headers),
        credentials=_field(keys, "credentials", Value.boolean, base.credentials),
        max_age_seconds=_field(keys, "max_age", Value.duration, base.max_age_seconds),
    )
    if cors.credentials and "*" in cors.origins:
        raise Fault("credentials must not be allowed to every origin; name the origins instead of '*'")
    return cors


def _alias(value: Value) -> Alias:
    keys = value.mapping(("path", "to", "envelope"))
    for key in ("path", "to"):
        if key not in keys:
            value.fault(f"has no `{key}:`")
    envelope = _field(keys, "envelope", lambda item: item.choice(("v1",)), "")
    path, to = _field(keys, "path", _path, ""), _field(keys, "to", _path, "/")
    return Alias(path.encode(), to.encode(), envelope=envelope == "v1")


def _path(value: Value) -> str:
    text = value.text()
    if not _PATH.fullmatch(text):
        raise Fault(f"must be a path such as /orders, without a slash at the end, not {text!r}")
    if any(part in (".", "..") for part in text.split("/")):
        raise Fault("must not hold dot segments")
    if is_internal(text.encode()):
        raise Fault("/internal is never reachable from outside")
    return text


def _name(value: Value) -> str:
    text = value.text()
    if not _NAME.fullmatch(text):
        raise Fault(f"must be small letters, digits, '.', '_' or '-', not {text!r}")
    return text


def _backend(value: Value) -> Origin:
    text = value.text()
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise Fault(f"must be an address such as http://localhost:8082, not {text!r}") from None
    extra = url.path not in ("", "/") or url.query or url.fragment or url.username or url.password
    if url.scheme != "http" or not url.hostname or port == 0 or extra:
        raise Fault(f"must be http://host or http://host:port and nothing more, not {text!r}")
    return Origin(url.hostname, port or 80)


def _methods(value: Value) -> frozenset[bytes]:
    methods = frozenset(item.read(lambda each: each.choice(METHODS), "").encode() for item in value.items())
    if not methods:
        raise Fault("must name at least one method")
    return methods


def _words(value: Value) -> frozenset[str]:
    return frozenset(value.texts())


def _origins(value: Value) -> tuple[str, ...]:
    origins = value.texts()
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise Fault(f"must be origins such as https://app.example or http://localhost:*, not {origin!r}")
    return origins


def _check_places(entries: Sequence[tuple[Value, Route | Alias]]) -> None:
    taken: dict[bytes, str] = dict.fromkeys(OWN, "the gateway itself")
    for value, entry in entries:
        place = entry.path.decode()
        holder = next((taken[path] for path in _above(entry.path) if path in taken and _final(path)), None)
        holder = holder or taken.get(entry.path)
        if holder:
            value.fault(f"cannot be reached: {place} already belongs to {holder}")
        taken.setdefault(entry.path, value.where)


def _above(path: bytes) -> list[bytes]:
    parts = path.split(b"/")
    return [b"/".join(parts[:length]) for length in range(2, len(parts))]


def _final(path: bytes) -> bool:
    return path in OWN


def _check_names(routes: Sequence[tuple[Value, Route]]) -> None:
    taken: dict[str, str] = {}
    for value, route in routes:
        holder = taken.setdefault(route.name, value.where)
        if holder != value.where and not _same_place(routes, value, holder):
            value.fault(f"the name {route.name!r} already belongs to {holder}; give it a `name:` of its own")


def _same_place(routes: Sequence[tuple[Value, Route]], value: Value, holder: str) -> bool:
    """Whether two routes have one path, which has been reported already."""
    paths = {each.where: route.path for each, route in routes}
    return paths[value.where] == paths[holder]


def _check_aliases(aliases: Sequence[tuple[Value, Alias]], paths: Sequence[bytes]) -> None:
    for value, alias in aliases:
        prefix = alias.to.rstrip(b"/")
        leads = any(
            known == alias.to
            or known.startswith(prefix + b"/")
            or alias.to.startswith(known.rstrip(b"/") + b"/")
            for known in (*paths, *OWN)
        )
        if not leads:
            value.fault(f"leads nowhere: no route begins with {alias.to.decode()}")
        if alias.path in (alias.to, b"/"):
            value.fault("must lead from one path to another")


def _well_known(routes: Sequence[Route]) -> list[Route]:
    """Discovery documents and keys come from the service that signs, unless a route says otherwise."""
    auth = next((route for route in routes if route.path == b"/auth"), None)
    if auth is None or any(route.path in (WELL_KNOWN, b"/") for route in routes):
        return []
    policy = replace(
        auth.policy, auth="none", methods=frozenset((b"GET",)), roles=frozenset(), scopes=frozenset()
    )
    return [Route(WELL_KNOWN, "well-known", auth.backend, policy)]


def _field(keys: dict[str, Value], key: str, reader: Callable[[Value], T], default: T) -> T:
    return keys[key].read(reader, default) if key in keys else default


def _each(value: Value, reader: Callable[[Value], T]) -> list[tuple[Value, T]]:
    """Every item with its place; an item that is wrong is noted and left out."""
    found: list[tuple[Value, T]] = []
    for item in value.items():
        made = item.read(reader, None)
        if made is not None:
            found.append((item, made))
    return found
