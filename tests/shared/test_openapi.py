"""The OpenAPI document matches the endpoints; `sound` checks the document of any service."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from jsonschema_rs import meta

from shared.testing import bearer, token


def sound(document: Any) -> None:
    """Fail unless this is a valid OpenAPI 3.1 document."""
    assert document["openapi"].startswith("3.1.")
    assert document["info"]["title"]
    assert document["info"]["version"]
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names)), "an operationId occurs twice"
    for reference in references(document):
        target = document
        assert reference.startswith("#/"), reference
        for part in reference[2:].split("/"):
            assert part in target, f"{reference} leads nowhere"
            target = target[part]
    for path, method, operation in operations(document):
        where = f"{method} {path}"
        assert operation["summary"], where
        assert operation["responses"], where
        assert all(answer["description"] for answer in operation["responses"].values()), where
        declared = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
        assert declared == {part[1:-1] for part in path.split("/") if part.startswith("{")}, where
        assert all(p["required"] for p in operation["parameters"] if p["in"] == "path"), where
        for schema in schemas(operation):
            meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
    for schema in document["components"]["schemas"].values():
        meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def schemas(operation: Any) -> Iterator[Any]:
    yield from (parameter["schema"] for parameter in operation["parameters"])
    for answer in [operation.get("requestBody", {}), *operation["responses"].values()]:
        yield from (content["schema"] for content in answer.get("content", {}).values())


@pytest.fixture
async def document(notes: httpx.AsyncClient) -> Any:
    return (await notes.get("/openapi.json")).json()


def test_document_is_valid_openapi(document: Any) -> None:
    sound(document)


@pytest.mark.parametrize(
    "damage",
    [
        lambda document: document.update(openapi="3.0.0"),
        lambda document: document["components"]["schemas"].pop("Problem"),
        lambda document: document["paths"]["/notes"]["get"].update(operationId="add_note"),
        lambda document: document["paths"]["/notes/{note_id}"]["get"]["parameters"].clear(),
        lambda document: document["components"]["schemas"]["NoteIn"].update(type="thing"),
        lambda document: document["paths"]["/notes"]["get"].update(summary=""),
    ],
)
def test_check_finds_an_invalid_document(document: Any, damage: Any) -> None:
    damage(document)
    with pytest.raises((AssertionError, ValueError)):
        sound(document)


def test_every_public_line_of_the_routing_table_is_an_operation(document: Any) -> None:
    assert {f"{method.upper()} {path}" for path, method, _ in operations(document)} == {
        "GET /notes",
        "POST /notes",
        "GET /notes/newest",
        "GET /notes/{note_id}",
        "PUT /notes/{note_id}",
        "DELETE /notes/{note_id}",
        "POST /notes/{note_id}/copies",
        "PUT /notes/{note_id}/mark",
        "POST /numbers",
        "GET /greeting",
        "GET /picture",
        "GET /gate",
        "POST /accidents/{kind}",
        "GET /admin/count",
        "GET /events/notes",
        "GET /events/notes/unsent",
        "GET /events/notes/undelivered",
        "GET /events/notes/undelivered/{event_id}",
        "POST /events/notes/replay",
        "POST /events/notes/drop",
    }


def test_writing_operation_is_documented_with_body_and_refusals(document: Any) -> None:
    add = document["paths"]["/notes"]["post"]

    assert add["operationId"] == "add_note"
    assert add["summary"] == "Add a note."
    assert add["security"] == [{"bearer": []}]
    assert add["requestBody"]["required"] is True
    assert add["requestBody"]["x-bytes-max"] == 10_000
    reference = {"$ref": "#/components/schemas/NoteIn"}
    assert add["requestBody"]["content"]["application/json"]["schema"] == reference
    assert set(add["responses"]) == {
        "201",
        "400",
        "401",
        "403",
        "405",
        "413",
        "415",
        "422",
        "429",
        "503",
        "507",
    }
    assert set(add["responses"]["201"]["headers"]) == {"ETag", "Location"}
    assert "`idempotency_key_reused`" in add["responses"]["422"]["description"]
    assert [parameter["name"] for parameter in add["parameters"]] == ["Idempotency-Key"]
    schema = document["components"]["schemas"]["NoteIn"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["text"]["maxLength"] == 200


def test_list_is_documented_with_paging_and_filters(document: Any) -> None:
    listing = document["paths"]["/notes"]["get"]
    parameters = {parameter["name"]: parameter for parameter in listing["parameters"]}

    assert set(parameters) == {"limit", "cursor", "owner", "If-None-Match"}
    assert parameters["limit"]["schema"]["maximum"] == 200
    assert parameters["limit"]["required"] is False
    assert set(listing["responses"]["200"]["headers"]) == {"ETag", "Link", "Page-Extras"}
    assert "304" in listing["responses"]
    shown = listing["responses"]["200"]["content"]["application/json"]["schema"]
    assert shown == {"type": "array", "items": {"$ref": "#/components/schemas/NoteOut"}}


def test_optional_body_and_headers_are_documented_as_optional(document: Any) -> None:
    change, mark = (
        document["paths"]["/notes/{note_id}"]["put"],
        document["paths"]["/notes/{note_id}/mark"]["put"],
    )

    assert mark["requestBody"]["required"] is False
    assert {p["name"]: p["required"] for p in change["parameters"]} == {"note_id": True, "If-Match": False}
    assert {"404", "409", "412"} <= set(change["responses"])


def test_document_says_which_operations_need_a_token(document: Any) -> None:
    assert document["paths"]["/greeting"]["get"]["security"] == []
    assert "401" not in document["paths"]["/greeting"]["get"]["responses"]
    assert "403" not in document["paths"]["/greeting"]["get"]["responses"]
    for path, codes in (("/admin/count", {"forbidden", "not_interactive"}), ("/notes", {"not_interactive"})):
        words = document["paths"][path]["get"]["responses"]["403"]["description"]
        assert set(re.findall("`([a-z_]+)`: ", words)) == codes


def test_status_204_is_documented_without_content(document: Any) -> None:
    assert "content" not in document["paths"]["/notes/{note_id}"]["delete"]["responses"]["204"]


async def test_sent_problems_match_the_problem_schema(notes: httpx.AsyncClient, document: Any) -> None:
    schema = {**document["components"]["schemas"]["Problem"], "components": document["components"]}
    for response in [
        await notes.get("/notes"),
        await notes.post("/numbers", json={"whole": "x"}),
        await notes.get("/notes?limit=0", headers=bearer(token())),
        await notes.post("/accidents/x"),
        await notes.get("/nowhere"),
    ]:
        assert response.headers["content-type"] == "application/problem+json"
        problem = response.json()
        assert set(schema["required"]) <= set(problem)
        assert problem["status"] == response.status_code
        assert json.loads(json.dumps(problem)) == problem


async def test_every_pattern_has_its_plain_description(notes: httpx.AsyncClient) -> None:
    shown = (await notes.get("/openapi.json")).text

    assert shown.count('"pattern":') == shown.count('"x-pattern-words":') > 0
