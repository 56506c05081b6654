"""Merges all forwarded operations, with what the gateway adds to each, into one OpenAPI document."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway import errors
from gateway.errors import Kind
from gateway.routing.path_tree import is_parameter, segments
from gateway.routing.table import ANYBODY, Alias, BadPath, Match, Route, RouteTable
from gateway.site.openapi_components import Document, Names, Place, Rename, operations, part_of, unite
from gateway.site.openapi_own import own_document
from shared import __version__
from shared.errors import PROBLEM_JSON, InvalidToken, first_line

# Route names are lower-case, so no service can have this name.
GATEWAY = "Gateway"
ABOUT = (
    "One URL for all services. Every response carries `X-Request-ID`. Refusals are problem+json "
    "(RFC 9457) with a stable `code`; those of the gateway also name the party at fault in `source` "
    "and what was being done in `phase`."
)
BEARER = "#/components/securitySchemes/bearer"
PROBLEM = "#/components/schemas/Problem"
INVALID_TOKEN = Kind(
    InvalidToken.status, InvalidToken.code, errors.CLIENT, "auth", first_line(InvalidToken.__doc__)
)
_PARAMETER = re.compile(r"{[^}]*}")


def merge(documents: Mapping[str, Document], table: RouteTable, unavailable: Sequence[str] = ()) -> Document:
    """Merge the documents of services by name; services without a document are listed as unavailable."""
    parts = {name: _forwarded(name, documents[name], table) for name in table.services if name in documents}
    parts[GATEWAY] = _own(table)
    names = Names(parts)
    paths, components = unite(parts, names)
    for name, part in parts.items():
        for path in part["paths"]:
            for method, operation in operations(paths[path]):
                operation["tags"] = [name]
                _add_policy(operation, table, method, path, names.rename(GATEWAY))
    missing = f" Missing from this document, because they do not respond: {', '.join(unavailable)}."
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Gatehouse",
            "version": __version__,
            "description": ABOUT + (missing if unavailable else ""),
        },
        "servers": [
            {"url": "/", "description": "Plain JSON"},
            *(_server(alias) for alias in table.aliases if alias.to == b"/"),
        ],
        "tags": [{"name": name} for name in parts],
        "paths": paths,
        "components": components,
        "x-unavailable": list(unavailable),
    }


def _own(table: RouteTable) -> Document:
    """Return the gateway's own operations, unless a route overrides them, and the schema of its refusals."""
    own = own_document()
    paths = {path: item for path, item in own["paths"].items() if _match(table, path) is None}
    return {"paths": paths, "components": own["components"]}


def _forwarded(name: str, document: Document, table: RouteTable) -> Document:
    """Return the operations of a service that are reachable through the gateway, at their public paths."""
    routes = [route for route in table.routes if route.upstream.origins == table.services[name]]

    def places_of(path: str, method: str) -> Iterator[Place]:
        for route in routes:
            place = _outside(route, path)
            if place is not None and _leads(table, route, place.path, path, method):
                yield place

    return part_of(document, places_of)


def _outside(route: Route, path: str) -> Place | None:
    """Return the public path at which this route exposes a service's path, if it does."""
    if route.rewrite is None:
        return Place(path, (), route.name)
    inner, outer = segments(route.rewrite), segments(route.path)
    parts = segments(path.encode())
    found: dict[bytes, bytes] = {}
    for pattern, part in zip(inner, parts, strict=False):
        if is_parameter(pattern):
            found[pattern] = part
        elif pattern != part:
            return None
    if len(parts) < len(inner):
        return None
    rest = parts[len(inner) :]
    taken, added = {*found.values(), *rest}, []
    for pattern in outer:
        if is_parameter(pattern) and pattern not in found:
            name = pattern
            while name in taken:
                name = name[:-1] + b"_}"
            found[pattern] = name
            added.append(name.decode().strip("{}"))
    moved = [found.get(pattern, pattern) for pattern in outer]
    return Place("/" + b"/".join([*moved, *rest]).decode(), added, route.name)


def _leads(table: RouteTable, route: Route, outside: str, path: str, method: str) -> bool:
    """Whether requests for the public path take this route and reach this path of the service."""
    match = _match(table, outside, method)
    return (
        match is not None
        and match.route is route
        and match.target == _sample(path)
        and route.allows(method.upper().encode())
    )


def _match(table: RouteTable, path: str, method: str = "get") -> Match | None:
    """Return the route that requests for this templated path would take, if any."""
    try:
        match = table.match(_sample(path), method.upper().encode())
    except BadPath:
        return None
    return match if match.alias is None and match.route is not None else None


def _sample(path: str) -> bytes:
    return _PARAMETER.sub("0", path).encode()


def _server(alias: Alias) -> dict[str, str]:
    envelope = "The same in the envelope {success, message, data, meta, errors}"
    return {"url": alias.path.decode(), "description": envelope if alias.envelope else "The same"}


def _add_policy(operation: Document, table: RouteTable, method: str, path: str, rename: Rename) -> None:
    """Add the gateway's requirements and refusals to an operation."""
    match = _match(table, path, method)
    kinds = [errors.MALFORMED, errors.BAD_PATH]
    if match is not None and match.route is not None:
        route = match.route
        has_query = any(each.get("in") == "query" for each in operation.get("parameters", ()))
        has_body = "requestBody" in operation
        kinds += _refusals(route, method, path, has_query=has_query, has_body=has_body)
        is_open = route.is_public(method.upper().encode(), _sample(path))
        if not is_open and route.policy.auth == "required" and not operation["security"]:
            operation["security"] = [{rename(BEARER).rpartition("/")[2]: []}]
    responses = operation.setdefault("responses", {})
    for kind in kinds:
        _add_refusal(responses.setdefault(str(kind.status), {}), kind, rename(PROBLEM))
    operation["responses"] = dict(sorted(responses.items()))


def _refusals(route: Route, method: str, path: str, *, has_query: bool, has_body: bool) -> list[Kind]:
    """Return the ways in which a well-formed request for this operation may fail at the gateway."""
    kinds = [errors.RATE_LIMITED, errors.UNREACHABLE, errors.RESET, errors.INVALID_ANSWER]
    kinds += [errors.OVERLOADED, errors.CONNECT_TIMEOUT]
    if not route.is_public(method.upper().encode(), _sample(path)):
        kinds += [errors.UNAUTHENTICATED, INVALID_TOKEN, errors.UNAVAILABLE]
    if route.policy.roles or route.policy.claims:
        kinds.append(errors.FORBIDDEN)
    if route.policy.scopes:
        kinds.append(errors.INSUFFICIENT_SCOPE)
    if route.policy.ip is not ANYBODY:
        kinds.append(errors.IP_DENIED)
    if path.startswith("/{"):
        kinds.append(errors.NOT_FOUND)  # the first segment may be /internal
    if has_query:
        kinds.append(errors.HEAD_TOO_LARGE)
    if has_body:
        kinds += [errors.REQUEST_TIMEOUT, errors.BODY_TOO_SLOW, errors.BODY_TOO_LARGE]
    return kinds


def _add_refusal(response: Document, kind: Kind, problem: str) -> None:
    """Add a reason for this status; a reason that the service also lists appears once."""
    before = response.setdefault("description", "")
    if f"`{kind.code}`" not in before:
        response["description"] = f"{before} `{kind.code}`: {kind.words}".strip()
    content: dict[str, Any] = response.setdefault("content", {})
    content.setdefault(PROBLEM_JSON, {"schema": {"$ref": problem}})
    if kind is errors.RATE_LIMITED:
        headers = response.setdefault("headers", {})
        headers.setdefault(
            "Retry-After", {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
        )
