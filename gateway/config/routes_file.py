"""Parses routes.yaml into a routing table or a list of faults."""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TypeVar, cast

from gateway.config import limit_keys, policy_keys, upstream_keys
from gateway.config.claim_keys import claims
from gateway.config.cross_checks import check_aliases, check_names, check_places, check_policy
from gateway.config.yaml_values import Fault, Faults, Value, compose
from gateway.config.yaml_values import field as _field
from gateway.routing.cors import DEVELOPMENT_ORIGINS, Cors
from gateway.routing.table import (
    WELL_KNOWN,
    Alias,
    Auth,
    Policy,
    Route,
    RouteTable,
    Timeouts,
    is_internal,
)

T = TypeVar("T")

FILE_BYTES_MAX = 1 << 20
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
AUTH = ("required", "optional", "none")
POLICY_KEYS = (
    *(
        "methods",
        "auth",
        "api_keys",
        "roles",
        "scopes",
        "claims",
        *limit_keys.LIMIT_KEYS,
        "timeout",
        "body_max",
        "cors",
    ),
    *upstream_keys.UPSTREAM_KEYS,
    *policy_keys.KEYS,
)
FILE_KEYS = ("routes", "defaults", "cors", "aliases")
ALIAS_KEYS = ("path", "to", "envelope")
CORS_KEYS = ("origins", "methods", "headers", "credentials", "max_age")
ENVELOPES = ("v1",)
PLACE_KEYS = ("path", "name", "hosts", "exact", "strip", "rewrite")
ROUTE_KEYS = (*PLACE_KEYS, "backend", "backends", "split", *POLICY_KEYS)
_SEGMENT = r"[A-Za-z0-9._~!$&'()*+,;=:@-]+"
PATH = re.compile(rf"/|(?:/{_SEGMENT})+")
PATTERN = re.compile(rf"/|(?:/(?:{_SEGMENT}|\{{[A-Za-z][A-Za-z0-9_]*\}}))+")
HOST = re.compile(r"(?:\*\.)?[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
ORIGIN = re.compile(r"\*|https?://(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::(?:\d{1,5}|\*))?")


class RoutesFileError(Exception):
    """The file cannot be used; the message holds one line per fault."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class Unreadable(RoutesFileError):
    """The file cannot be read at all."""


def load(file: Path, *, development: bool) -> RouteTable:
    """Read the whole file, or raise RoutesFileError with every fault in it."""
    return parse(read(file), str(file), development=development)


def read(file: Path, setting: str = "ROUTES_FILE") -> str:
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise Unreadable(
            f"{file}: cannot be read ({error.strerror}); name another file, or set {setting}"
        ) from error
    if len(raw) > FILE_BYTES_MAX:
        raise Unreadable(f"{file}: is larger than {FILE_BYTES_MAX} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise Unreadable(f"{file}: is not UTF-8") from error


def parse(text: str, file: str, *, development: bool) -> RouteTable:
    table, faults = examine(text, file, development=development)
    if table is None:
        raise RoutesFileError(*faults.in_order())
    return table


def examine(text: str, file: str, *, development: bool) -> tuple[RouteTable | None, Faults]:
    """Return the table (None if the file has a fault) and all findings."""
    faults = Faults(file)
    root = compose(text, faults)
    digest = hashlib.sha256(text.encode()).hexdigest()
    table = root.read(lambda value: _table(value, digest, development=development), None) if root else None
    return (None if faults.in_order() else table), faults


def _table(root: Value, digest: str, *, development: bool) -> RouteTable:
    keys = root.mapping(FILE_KEYS)
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
    # Entries without a usable path have been reported already and would only cause misleading comparisons.
    placed = [item for item in routes if item[1].path]
    check_places([*placed, *(item for item in aliases if item[1].path)])
    check_names(placed)
    check_aliases(aliases, [route.path for _, route in placed])
    table = [route for _, route in routes]
    return RouteTable([*table, *_well_known(table)], [alias for _, alias in aliases], cors, digest)


def _defaults(value: Value, cors: Cors) -> Policy:
    return _policy(value.mapping(POLICY_KEYS), Policy(cors=cors))


def _route(value: Value, defaults: Policy) -> Route:
    keys = value.mapping(ROUTE_KEYS)
    if "path" not in keys:
        value.fault("has no `path:`")
    if "backend" not in keys and "backends" not in keys:
        value.fault("has no `backend:`")
    path = _field(keys, "path", _pattern, "")
    plain = re.sub(r"[{}]", "", path)
    name = _field(keys, "name", _name, plain.strip("/").replace("/", "-").lstrip(".").lower() or "root")
    policy = _policy(keys, replace(defaults, auth_stated=False))
    check_policy(keys, policy)
    if path.encode() == WELL_KNOWN and not policy.auth_stated:
        policy = replace(policy, auth="none")
    upstream = upstream_keys.upstream(keys, policy.balance, policy.retry, policy.care)
    return Route(
        path.encode(),
        name,
        upstream,
        policy,
        split=_field(keys, "split", lambda each: upstream_keys.split(each, upstream, policy.care), None),
        hosts=_field(keys, "hosts", _hosts, ()),
        exact=_field(keys, "exact", Value.boolean, False),
        rewrite=_rewrite(keys, path),
    )


def _policy(keys: dict[str, Value], base: Policy) -> Policy:
    return Policy(
        methods=_field(keys, "methods", _methods, base.methods),
        auth=_field(keys, "auth", _auth, base.auth),
        auth_stated="auth" in keys,
        roles=_field(keys, "roles", _words, base.roles),
        scopes=_field(keys, "scopes", _words, base.scopes),
        api_keys=_field(keys, "api_keys", Value.boolean, base.api_keys),
        claims=_field(keys, "claims", claims, base.claims),
        rate_limits=limit_keys.rate_limits(keys, base.rate_limits),
        concurrency=limit_keys.concurrency(keys, base.concurrency),
        timeouts=_field(keys, "timeout", lambda value: _timeouts(value, base.timeouts), base.timeouts),
        balance=_field(keys, "balance", upstream_keys.balance, base.balance),
        retry=_field(keys, "retry", lambda value: upstream_keys.retry(value, base.retry), base.retry),
        care=upstream_keys.care(keys, base.care),
        body_max=_field(keys, "body_max", Value.size, base.body_max),
        cors=_field(keys, "cors", lambda value: _cors(value, base.cors), base.cors),
        headers=_field(keys, "headers", lambda value: policy_keys.headers(value, base.headers), base.headers),
        security_headers=_field(keys, "security_headers", policy_keys.security, base.security_headers),
        ip=_field(keys, "ip", lambda value: policy_keys.addresses(value, base.ip), base.ip),
    )


def _auth(value: Value) -> Auth:
    return cast("Auth", value.choice(AUTH))


def _timeouts(value: Value, base: Timeouts) -> Timeouts:
    names = [field.name for field in fields(Timeouts)]
    keys = value.mapping(names)
    return Timeouts(**{name: _field(keys, name, Value.duration, getattr(base, name)) for name in names})


def _cors(value: Value, base: Cors) -> Cors:
    keys = value.mapping(CORS_KEYS)
    cors = Cors(
        origins=_field(keys, "origins", _origins, base.origins),
        methods=_field(keys, "methods", Value.texts, base.methods),
        headers=_field(keys, "headers", Value.texts, base.headers),
        credentials=_field(keys, "credentials", Value.boolean, base.credentials),
        max_age_seconds=_field(keys, "max_age", Value.duration, base.max_age_seconds),
    )
    if cors.credentials and "*" in cors.origins:
        raise Fault("credentials must not be allowed for every origin; list the origins instead of '*'")
    return cors


def _alias(value: Value) -> Alias:
    keys = value.mapping(ALIAS_KEYS)
    for key in ("path", "to"):
        if key not in keys:
            value.fault(f"has no `{key}:`")
    envelope = _field(keys, "envelope", lambda item: item.choice(ENVELOPES), "")
    path, to = _field(keys, "path", _path, ""), _field(keys, "to", _path, "/")
    return Alias(path.encode(), to.encode(), envelope=envelope == "v1")


def _path(value: Value) -> str:
    text = value.text()
    if not PATH.fullmatch(text):
        raise Fault(f"must be a path such as /orders, without a trailing slash, not {text!r}")
    return _checked(text)


def _checked(text: str) -> str:
    if any(part in (".", "..") for part in text.split("/")):
        raise Fault("must not contain dot segments")
    if is_internal(text.encode()):
        raise Fault("/internal is never reachable from outside")
    return text


def _pattern(value: Value) -> str:
    """Return a path whose segments may be `{parameter}`s."""
    text = value.text()
    if not PATTERN.fullmatch(text):
        raise Fault(
            f"must be a path such as /orders or /users/{{id}}, without a trailing slash, not {text!r}"
        )
    names = [part for part in text.split("/") if part.startswith("{")]
    if len(set(names)) < len(names):
        raise Fault("contains one parameter twice")
    return _checked(text)


def _hosts(value: Value) -> tuple[str, ...]:
    hosts = value.texts()
    for host in hosts:
        if not HOST.fullmatch(host):
            raise Fault(f"must be lower-case host names, such as shop.example or *.example, not {host!r}")
    if not hosts:
        raise Fault("must name at least one host")
    if len(set(hosts)) < len(hosts):
        raise Fault("names one host twice")
    return hosts


def _rewrite(keys: dict[str, Value], path: str) -> bytes | None:
    """Return the path sent to the backend in place of the route's own."""
    strip = _field(keys, "strip", Value.boolean, False)
    if "rewrite" not in keys:
        return b"/" if strip else None
    if strip:
        keys["strip"].fault("means the same as `rewrite: /`; remove one of the two")
    return _field(keys, "rewrite", lambda value: _template(value, path), "/").encode()


def _template(value: Value, path: str) -> str:
    text = _pattern(value)
    for part in text.split("/"):
        if part.startswith("{") and part not in path.split("/"):
            raise Fault(f"the path has no {part}")
    return text


def _name(value: Value) -> str:
    text = value.text()
    if not NAME.fullmatch(text):
        raise Fault(f"must consist of lower-case letters, digits, '.', '_' or '-', not {text!r}")
    return text


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
        if not ORIGIN.fullmatch(origin):
            raise Fault(f"must be origins such as https://app.example or http://localhost:*, not {origin!r}")
    return origins


def _well_known(routes: Sequence[Route]) -> list[Route]:
    """Return a route to auth for its discovery documents and signing keys, unless the file has one."""
    auth = next((route for route in routes if route.path == b"/auth" and not route.hosts), None)
    if auth is None or any(route.path in (WELL_KNOWN, b"/") and not route.hosts for route in routes):
        return []
    policy = replace(
        auth.policy,
        auth="none",
        methods=frozenset((b"GET",)),
        roles=frozenset(),
        scopes=frozenset(),
        claims=(),
    )
    return [Route(WELL_KNOWN, "well-known", auth.upstream, policy)]


def _each(value: Value, reader: Callable[[Value], T]) -> list[tuple[Value, T]]:
    """Return every item with its position; an invalid item is reported and omitted."""
    found: list[tuple[Value, T]] = []
    for item in value.items():
        made = item.read(reader, None)
        if made is not None:
            found.append((item, made))
    return found
