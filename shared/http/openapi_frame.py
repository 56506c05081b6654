"""The parts common to every OpenAPI document of the suite: the frame, and the schema of a refusal."""

from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import JsonSchemaMode

REF = "#/components/schemas/{model}"
_BEARER = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}


class FieldProblem(BaseModel):
    """A fault in one field of the input."""

    field: str
    code: str
    message: str


class ProblemDocument(BaseModel):
    """A refusal (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    error: str
    code: str
    request_id: str | None
    errors: list[FieldProblem] = []


def frame(title: str, version: str, paths: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """Return an OpenAPI document with these paths and schemas."""
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {"schemas": _problem_schemas() | schemas, "securitySchemes": {"bearer": _BEARER}},
    }


def _problem_schemas() -> dict[str, Any]:
    inputs: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = [
        ("problem", "serialization", TypeAdapter(ProblemDocument))
    ]
    definitions: dict[str, Any] = TypeAdapter.json_schemas(inputs, ref_template=REF)[1]["$defs"]
    return {"Problem": definitions.pop("ProblemDocument"), **definitions}
