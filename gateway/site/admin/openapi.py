"""The OpenAPI document of the admin read API."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter

from gateway import errors
from gateway.errors import Kind
from gateway.site.admin import schemas
from gateway.site.admin.access import SCOPE
from gateway.site.openapi_components import Document
from shared.errors import (
    BadRequest,
    Forbidden,
    InsufficientScope,
    Invalid,
    InvalidToken,
    Problem,
    TooLarge,
    UnsupportedMediaType,
    first_line,
)
from shared.http.openapi_frame import REF

# Path: operation id, summary, schema of the response, and whether the response is a list of it.
READS: Mapping[str, tuple[str, str, type[BaseModel], bool]] = {
    "/gateway/status": (
        "show_gateway_status",
        "Show version, workers, and the result of the last load of the routes file.",
        schemas.Status,
        False,
    ),
    "/gateway/routes": ("show_gateway_routes", "Show the routes at work.", schemas.RoutesShown, False),
    "/gateway/targets": (
        "list_gateway_targets",
        "List the targets of all routes with their health, as each worker sees it.",
        schemas.TargetShown,
        True,
    ),
    "/gateway/limits": (
        "list_gateway_limits",
        "List the rate limits and slots in use, by route and worker.",
        schemas.RouteLimits,
        True,
    ),
    "/gateway/errors": (
        "list_gateway_errors",
        "List the latest refusals of the gateway and 5xx of services, newest first.",
        schemas.ErrorShown,
        True,
    ),
    "/gateway/backups": (
        "list_gateway_backups",
        "List the backups in `BACKUP_DIR`, if the gateway has that folder.",
        schemas.BackupsShown,
        False,
    ),
}
EXPLAIN = "/gateway/explain"
_OF_ACCESS: tuple[Kind | type[Problem], ...] = (
    errors.UNAUTHENTICATED,
    InvalidToken,
    errors.SESSION_OVER,
    Forbidden,
    InsufficientScope,
    errors.TOO_MANY_FAILURES,
    errors.UNAVAILABLE,
)
_OF_BODY = (errors.CROSS_SITE, BadRequest, TooLarge, UnsupportedMediaType, Invalid)


def admin_paths() -> Document:
    paths: Document = {
        path: {"get": _operation(name, summary, _schema(kind, is_list=is_list), _OF_ACCESS)}
        for path, (name, summary, kind, is_list) in READS.items()
    }
    summary = "Explain what would happen to a request, and why; it is not sent."
    explained = _operation("explain_request", summary, _schema(schemas.Explanation), _OF_ACCESS + _OF_BODY)
    body = {"application/json": {"schema": {"$ref": REF.format(model="ExplainRequest")}}}
    explained["requestBody"] = {"required": True, "content": body, "x-bytes-max": schemas.BODY_BYTES_MAX}
    return {**paths, EXPLAIN: {"post": explained}}


def admin_schemas() -> Document:
    kinds: list[type[BaseModel]] = [kind for _, _, kind, _ in READS.values()]
    kinds.append(schemas.Explanation)
    outputs: Any = [(kind.__name__, "serialization", TypeAdapter(kind)) for kind in kinds]
    inputs: Any = [("ExplainRequest", "validation", TypeAdapter(schemas.ExplainRequest))]
    found: Document = TypeAdapter.json_schemas([*outputs, *inputs], ref_template=REF)[1]["$defs"]
    return found


def _schema(kind: type[BaseModel], *, is_list: bool = False) -> Document:
    schema = {"$ref": REF.format(model=kind.__name__)}
    return {"type": "array", "items": schema} if is_list else schema


def _operation(
    name: str, summary: str, schema: Document, refusals: tuple[Kind | type[Problem], ...]
) -> Document:
    done = {"description": "Done", "content": {"application/json": {"schema": schema}}}
    return {
        "operationId": name,
        "summary": summary,
        "parameters": [],
        "responses": {"200": done, **_refusals(refusals)},
        "security": [{"bearer": [SCOPE]}],
    }


def _refusals(kinds: tuple[Kind | type[Problem], ...]) -> Document:
    found: dict[str, list[str]] = {}
    for kind in kinds:
        words = kind.words if isinstance(kind, Kind) else first_line(kind.__doc__)
        found.setdefault(str(kind.status), []).append(f"`{kind.code}`: {words}")
    content = {"application/problem+json": {"schema": {"$ref": REF.format(model="Problem")}}}
    return {status: {"description": " ".join(words), "content": content} for status, words in found.items()}
