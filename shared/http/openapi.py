"""The OpenAPI 3.1 document of a service, made from the handler signatures that serve the requests."""

from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode
from starlette.responses import Response

from shared.errors import (
    BadRequest,
    DiskFull,
    Forbidden,
    Impersonated,
    InsufficientScope,
    Invalid,
    MethodNotAllowed,
    NotFound,
    NotInteractive,
    Overloaded,
    Problem,
    SignInAgain,
    Stale,
    TooLarge,
    TooManyRequests,
    Unauthenticated,
    UnsupportedMediaType,
    first_line,
)
from shared.http.endpoints import Endpoint
from shared.http.idempotency import KeyReused
from shared.http.inputs import JSON
from shared.http.openapi_frame import REF, frame
from shared.http.operations import TAKES_IN, Operation
from shared.http.preconditions import IfMatch
from shared.http.schemas import Page, Versioned
from shared.identity.tokens import admin, in_person, internal, person, person_or_nobody, public
from shared.words import words_for_pattern

WITHOUT_TOKEN = (public, person_or_nobody)

FORM = "application/x-www-form-urlencoded"
PATTERN_WORDS = "x-pattern-words"
_TEXT = {"type": "string"}
_NOT_MODIFIED = {"description": "Not modified: If-None-Match contains the current ETag"}
_BYTES = {"type": "string", "format": "binary"}
# The schema describes each event of a stream, not the text of the stream.
_EVENT = {
    "type": "object",
    "properties": {
        "id": _TEXT,
        "event": _TEXT,
        "data": {"description": "JSON; see the operation's description"},
    },
}
_SENT = {"text/event-stream": _EVENT}
_PROBLEM_CONTENT = {"application/problem+json": {"schema": {"$ref": REF.format(model="Problem")}}}


def document(name: str, version: str, endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Describe the operations of a service; internal ones are left out."""
    shown = [endpoint for endpoint in endpoints if endpoint.operation.access is not internal]
    schemas = _Schemas(shown)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in shown:
        item = paths.setdefault(endpoint.operation.path.replace(":path}", "}"), {})
        item[endpoint.operation.method.lower()] = _operation(name, endpoint, schemas)
    return frame(name, version, paths, schemas.definitions)


class _Schemas:
    """All schemas of a service, generated together so that equal names mean equal schemas."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        inputs: list[tuple[Any, JsonSchemaMode, TypeAdapter[Any]]] = []
        for endpoint in endpoints:
            signature, key = endpoint.signature, endpoint.operation.name
            for part in ("path", "query", "body"):
                model = getattr(signature, part)
                if model is not None:
                    inputs.append(((key, part), "validation", TypeAdapter(model)))
            if endpoint.operation.form is not None:
                inputs.append(((key, "form"), "validation", TypeAdapter(endpoint.operation.form)))
            if endpoint.operation.body_model is not None:
                inputs.append(((key, "body"), "validation", TypeAdapter(endpoint.operation.body_model)))
            inputs.append(((key, "out"), "serialization", endpoint.adapter))
        self._by_key, rest = TypeAdapter.json_schemas(inputs, ref_template=REF)
        self.definitions: dict[str, Any] = rest.get("$defs", {})
        _explain_patterns([self._by_key, self.definitions])

    def of(self, endpoint: Endpoint, part: str) -> dict[str, Any]:
        mode: JsonSchemaMode = "serialization" if part == "out" else "validation"
        return dict(self._by_key[(endpoint.operation.name, part), mode])

    def parameters(self, endpoint: Endpoint, part: str) -> list[dict[str, Any]]:
        if getattr(endpoint.signature, part) is None:
            return []
        schema = self.of(endpoint, part)
        if "$ref" in schema:
            schema = self.definitions[schema["$ref"].rpartition("/")[2]]
        required = schema.get("required", ())
        return [
            {
                "name": name,
                "in": part,
                "required": name in required,
                "schema": {key: value for key, value in field.items() if key != "title"},
            }
            for name, field in schema["properties"].items()
        ]


def _explain_patterns(schemas: Any) -> None:
    """Add to each pattern a description in plain words, for people who do not read regular expressions."""
    if isinstance(schemas, dict):
        words = words_for_pattern(schemas["pattern"]) if isinstance(schemas.get("pattern"), str) else None
        if words is not None:
            schemas[PATTERN_WORDS] = words
    for part in schemas.values() if isinstance(schemas, dict) else schemas:
        if isinstance(part, dict | list):
            _explain_patterns(part)


def _operation(tag: str, endpoint: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    operation = endpoint.operation
    summary, _, description = (operation.handler.__doc__ or operation.name).strip().partition("\n")
    shown: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [tag],
        "summary": summary,
        "description": " ".join([*description.split(), *_scope_of_guests(endpoint)]),
        "parameters": [
            *schemas.parameters(endpoint, "path"),
            *schemas.parameters(endpoint, "query"),
            *_headers(endpoint),
        ],
        "responses": _responses(endpoint, schemas),
        "security": [] if operation.access in WITHOUT_TOKEN else [{"bearer": _scopes(endpoint)}],
    }
    body = _body(endpoint, schemas)
    if body is not None:
        shown["requestBody"] = body
    return shown


def _scopes(endpoint: Endpoint) -> list[str]:
    """Return the scopes that a limited token needs; OpenAPI 3.1 allows them for schemes other than OAuth."""
    return [endpoint.operation.scope] if endpoint.operation.scope else []


def _scope_of_guests(endpoint: Endpoint) -> list[str]:
    """Return the scope to mention in the text: a security scheme cannot list it if the token is optional."""
    scope, is_open = endpoint.operation.scope, endpoint.operation.access in WITHOUT_TOKEN
    return [f"A token that is limited to some scopes needs `{scope}`."] if scope and is_open else []


def _body(endpoint: Endpoint, schemas: _Schemas) -> dict[str, Any] | None:
    operation, signature = endpoint.operation, endpoint.signature
    if operation.form is not None:
        content = {"multipart/form-data": {"schema": schemas.of(endpoint, "form")}}
        return {"required": True, "content": content}
    if operation.body_type == FORM:
        fields = {"type": "object", "additionalProperties": {"type": "string"}}
        return {"required": False, "content": {FORM: {"schema": fields}}}
    if operation.body_type is not None:
        schema = _BYTES if operation.body_model is None else schemas.of(endpoint, "body")
        return {"required": False, "content": {operation.body_type: {"schema": schema}}}
    if signature.body is not None:
        content = {JSON: {"schema": schemas.of(endpoint, "body")}}
        limit = operation.body_bytes_max
        return {"required": signature.body_required, "content": content, "x-bytes-max": limit}
    return None


def _headers(endpoint: Endpoint) -> list[dict[str, Any]]:
    wanted = []
    if _is_list(endpoint):
        wanted.append(("If-None-Match", "The ETag of the page that you have; 304 if it is still the same."))
    if IfMatch in endpoint.signature.injected.values():
        wanted.append(("If-Match", "The ETag you read; 412 if the resource has changed since."))
    if endpoint.operation.idempotent:
        wanted.append(
            ("Idempotency-Key", "Repeating the request with the same key returns the first response.")
        )
    return [
        {"name": name, "in": "header", "required": False, "description": why, "schema": {"type": "string"}}
        for name, why in wanted
    ]


def _responses(endpoint: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    found = {**_successes(endpoint, schemas), **_refusals(endpoint)}
    for status, media_type in endpoint.operation.also.items():
        described = found.setdefault(str(status), {"description": HTTPStatus(status).phrase})
        if media_type:
            described["content"] = {**described.get("content", {}), media_type: {"schema": {}}}
    return found


def _successes(endpoint: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    operation = endpoint.operation
    if not operation.sends_bytes:
        success = {str(operation.status): _success(endpoint, schemas)}
        return {**success, "304": _NOT_MODIFIED} if _is_list(endpoint) else success
    content = {"*/*": {"schema": _BYTES}}
    return {
        "200": {"description": "The whole content", "content": content},
        "206": {"description": "The range requested in Range", "content": content},
        "307": {"description": "Download from the URL in Location, which expires soon"},
        "304": _NOT_MODIFIED,
    }


def _is_list(endpoint: Endpoint) -> bool:
    """Whether the response is a page, with an ETag of its content."""
    answer = endpoint.signature.answer
    return endpoint.operation.method == "GET" and isinstance(answer, type) and issubclass(answer, Page)


def _success(endpoint: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    operation, answer = endpoint.operation, endpoint.signature.answer
    described: dict[str, Any] = {"description": "Done"}
    if operation.answer_types:
        described["content"] = {kind: {"schema": _SENT.get(kind, _TEXT)} for kind in operation.answer_types}
    elif answer not in (type(None), Response):
        described["content"] = {JSON: {"schema": schemas.of(endpoint, "out")}}
    headers = {
        "ETag": _is_list(endpoint) or (isinstance(answer, type) and issubclass(answer, Versioned)),
        "Location": operation.location is not None,
        "Link": isinstance(answer, type) and issubclass(answer, Page),
        "Page-Extras": isinstance(answer, type) and issubclass(answer, Page),
    }
    if any(headers.values()):
        described["headers"] = {
            name: {"schema": {"type": "string"}} for name, sent in headers.items() if sent
        }
    return described


def _refusals(endpoint: Endpoint) -> dict[str, Any]:
    """Return the declared refusals and those implied by the operation's signature, by status."""
    signature, operation = endpoint.signature, endpoint.operation
    kinds: list[type[Problem]] = [*operation.errors, MethodNotAllowed, TooManyRequests, Overloaded]
    if operation.method in TAKES_IN:
        kinds.append(DiskFull)
    kinds += _refusals_of_access(operation)
    if signature.path is not None:
        kinds += [NotFound, Invalid]
    if signature.query is not None:
        kinds.append(Invalid)
    if signature.body is not None:
        kinds += [BadRequest, TooLarge, UnsupportedMediaType, Invalid]
    if IfMatch in signature.injected.values():
        kinds.append(Stale)
    if operation.idempotent:
        kinds += [KeyReused, BadRequest]
    by_status: dict[int, list[type[Problem]]] = {}
    for kind in dict.fromkeys(kinds):
        by_status.setdefault(kind.status, []).append(kind)
    return {str(status): _refusal(kinds) for status, kinds in sorted(by_status.items())}


def _refusals_of_access(operation: Operation) -> Iterator[type[Problem]]:
    if operation.access not in WITHOUT_TOKEN:
        yield Unauthenticated
    if operation.step_up is not None:
        yield SignInAgain
    if operation.access is admin:
        yield Forbidden
    if operation.access in (person, in_person):
        yield Impersonated
    if operation.scope is not None:
        yield InsufficientScope
    elif operation.access not in WITHOUT_TOKEN:
        yield NotInteractive


def _refusal(kinds: list[type[Problem]]) -> dict[str, Any]:
    description = " ".join(f"`{kind.code}`: {first_line(kind.__doc__)}" for kind in kinds)
    return {"description": description, "content": _PROBLEM_CONTENT}
