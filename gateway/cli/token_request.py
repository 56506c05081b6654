"""Predicts what would happen to a request with a credential, from its route and its operation."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.cli.token_claims import Finding
from gateway.errors import Refusal
from gateway.forwarding.explain import explain, request_of
from gateway.policies.authentication import require
from gateway.routing.request_target import match_of
from gateway.routing.table import Match
from shared.caller import Caller
from shared.errors import Problem
from shared.identity.scopes import limited
from shared.peers.client import HttpClient

_SHOWN = ("alias", "route", "auth", "roles", "scopes", "claims")
_PARAMETER = re.compile(r"\{[^}/]+\}")


async def request_findings(
    routes_file: Path, method: str, path: str, caller: Caller | None, client: HttpClient, *, development: bool
) -> list[Finding]:
    from gateway.config.routes_file import RoutesFileError, load

    try:
        table = load(routes_file, development=development)
    except RoutesFileError as error:
        return [Finding("route", f"the routes file cannot be used: {error}")]
    lines = explain(table, method, path, ["Authorization: Bearer x"])
    found = [Finding(line.name, line.words) for line in lines if line.name in _SHOWN]
    verdict = lines[-1].words
    match = match_of(table, request_of(method, path, []))
    if not verdict.startswith("forwarded") or match.route is None:
        return [*found, Finding("request", verdict, f"gateway: {verdict.partition(' (')[0]}")]
    if caller is None:
        return found
    found += _route_rules(match, method, caller)
    return [*found, *await _operation_rules(match, method, caller, client)]


def _route_rules(match: Match, method: str, caller: Caller) -> Iterator[Finding]:
    assert match.route is not None
    if match.route.is_public(method.encode(), match.path):
        return
    try:
        require(match.route.policy, caller)
    except Refusal as refusal:
        where = f"gateway, route {match.route.name}: {refusal.kind.status} {refusal.kind.code}"
        yield Finding("request", refusal.detail or refusal.kind.words, where)


async def _operation_rules(match: Match, method: str, caller: Caller, client: HttpClient) -> list[Finding]:
    """Check the rules that the service publishes for the operation."""
    assert match.route is not None
    origin = match.route.upstream.shares[0].target.origin.url
    try:
        document = await client.get_json(f"{origin}/openapi.json")
    except Problem:
        return [
            Finding("operation", f"the service at {origin} did not publish which scope the operation needs")
        ]
    return [*operation_findings(document, method, match.target.partition(b"?")[0].decode("latin-1"), caller)]


def operation_findings(document: Any, method: str, path: str, caller: Caller) -> Iterator[Finding]:
    operation = _operation(document, method.lower(), path)
    if operation is None:
        yield Finding("operation", f"the service has no operation for {method} {path}: 404 or 405")
        return
    name, service = operation.get("operationId", ""), document["info"]["title"]
    demands = operation.get("security") or []
    if not demands:
        yield Finding("operation", f"{name} of {service} needs no token")
        return
    scope = next(iter(demands[0].get("bearer", [])), None)
    yield Finding("operation", f"{name} of {service}: {_needs(scope)}")
    try:
        holder = limited(caller, scope) if caller.is_limited else caller
    except Problem as error:
        yield Finding("request", f"{error.detail}", f"{service}, {name}: {error.status} {error.code}")
        return
    if scope is not None and scope.startswith("admin:") and not holder.is_admin:
        yield Finding("request", f"the role is {caller.role}", f"{service}, {name}: 403 forbidden")


def _needs(scope: str | None) -> str:
    return "a person who signed in" if scope is None else f"a person, or the scope {scope}"


def _operation(document: Any, method: str, path: str) -> dict[str, Any] | None:
    """Find the operation of a path; literal paths take precedence over those with parameters."""
    paths = document.get("paths", {})
    for template in sorted(paths, key=lambda one: (one.count("{"), one)):
        pattern = "[^/]+".join(re.escape(part) for part in _PARAMETER.split(template))
        if re.fullmatch(pattern, path) and method in paths[template]:
            found: dict[str, Any] = paths[template][method]
            return found
    return None
