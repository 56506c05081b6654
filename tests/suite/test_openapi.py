"""The suite behaves as /openapi.json says: generated requests, and invalid bodies for every operation."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.engine import events, from_schema
from schemathesis.engine.recorder import RecordedScenario
from schemathesis.engine.run import PhaseName
from schemathesis.generation.case import Case
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import ignored_auth
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR
from schemathesis.transport.requests import ManagedCookiesSession

from gateway.site.openapi_components import operations
from shared.ids import new_id
from tests.suite.accounts import Person, register, register_admin, sign_in_admin
from tests.suite.conftest import Suite, running_suite
from tests.support import length

pytestmark = pytest.mark.prove

EXAMPLES_PER_OPERATION = round(length(5))
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "ignored_auth",
    "unsupported_method",
)
# Besides the usual statuses, a disk may be full (507), and a body or a query too long (413, 431).
STATUSES = {
    "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", "507"]},
    "negative_data_rejection": {"expected-statuses": ["4xx", "5xx"]},
}
# Each of these operations has a caller of its own, because it may end the caller's session.
LAST_ONES = (
    "administer_account",
    "change_me",
    "classic_change_user",
    "delete_classic_me",
    "delete_classic_user",
    "delete_me",
    "delete_own_account",
    "delete_user",
    "end_session",
    "log_out_classic",
    "logout",
    "put_classic_user_status",
    "reset_account_factors",
    "sign_out_account",
)
# Every service has the same operations on its undelivered events; one of them stands for all.
THE_SAME_ELSEWHERE = r"^/events/(?!orders(/|$))"
ANY_NUMBER_OF_FAILURES = {"GATEWAY_AUTH_FAILURES_PER_SECOND": "0"}

# The chunks of an upload have their own media type.
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")

Document = dict[str, Any]
SignIn = Callable[[httpx.AsyncClient], Any]
Bad = tuple[bytes, str, int, str]  # body, media type, expected status, name that the response must contain


@pytest.fixture(scope="module")
def suite_to_hurt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """A private suite, because generated requests may change any account, even the first admin's."""
    folder = tmp_path_factory.mktemp("openapi")
    with pytest.MonkeyPatch.context() as patch, running_suite(folder, ANY_NUMBER_OF_FAILURES) as running:
        # Before each request, `requests` looks for proxies and passwords in all variables and files.
        patch.setattr(requests.sessions, "get_environ_proxies", lambda *_, **__: {})
        patch.setattr(requests.sessions, "get_netrc_auth", lambda *_, **__: None)
        yield running


async def document_of(suite: Suite) -> Document:
    async with suite.client() as client:
        document: Document = (await client.get("/openapi.json")).json()
    return document


@pytest.mark.long(0.1)
async def test_document_is_complete_and_valid(suite_to_hurt: Suite) -> None:
    document = await document_of(suite_to_hurt)

    assert [str(error) for error in OPENAPI_31_VALIDATOR.iter_errors(document)] == []
    assert document["x-unavailable"] == []
    assert {tag["name"] for tag in document["tags"]} == {*suite_to_hurt.ports, "Gateway"} - {"gateway"}
    ids = [each["operationId"] for item in document["paths"].values() for _, each in operations(item)]
    assert len(ids) == len(set(ids))


@pytest.mark.long(5)
@pytest.mark.timeout(1800)  # thousands of requests, beside other tests
async def test_every_operation_conforms_to_the_document_for_admins_and_users(suite_to_hurt: Suite) -> None:
    people = [await signed_in(suite_to_hurt, sign_in) for sign_in in (sign_in_admin, register)]
    before = [await profile_of(suite_to_hurt, person) for person in people]
    asked, broken = try_out(suite_to_hurt, *people, exclude=LAST_ONES)

    assert not broken, "\n\n".join(each[:1_000] for each in broken)
    document = await document_of(suite_to_hurt)
    everything = {
        f"{method.upper()} {path}"
        for path, item in document["paths"].items()
        for method, operation in operations(item)
        if operation["operationId"] not in LAST_ONES and not re.match(THE_SAME_ELSEWHERE, path)
    }
    assert asked == [everything - {"GET /openapi.json"}] * 2  # the document itself
    after = [await profile_of(suite_to_hurt, person) for person in people]
    assert [(one["id"], one["role"]) for one in after] == [(one["id"], one["role"]) for one in before], (
        "later requests were unauthenticated"
    )


@pytest.mark.long(0.1)
@pytest.mark.parametrize("sign_in", [register, register_admin])
@pytest.mark.parametrize("operation_id", LAST_ONES)
async def test_operation_that_may_end_the_session_conforms_to_the_document(
    suite_to_hurt: Suite, sign_in: SignIn, operation_id: str
) -> None:
    person = await signed_in(suite_to_hurt, sign_in)
    (asked,), broken = try_out(suite_to_hurt, person, include=[operation_id])

    assert not broken, "\n\n".join(each[:1_000] for each in broken)
    assert len(asked) == 1


async def signed_in(suite: Suite, sign_in: SignIn) -> Person:
    async with suite.client() as client:
        person: Person = await sign_in(client)
        order = {"product_name": "Laptop", "quantity": 1, "total_price": 1}
        assert (await client.post("/orders", json=order, headers=person.headers)).status_code == 201
    return person


async def profile_of(suite: Suite, person: Person) -> Document:
    async with suite.client(headers=person.headers) as client:
        response = await client.get("/users/me")
    assert response.status_code == 200, response.text
    profile: Document = response.json()
    return profile


def try_out(
    suite: Suite, *people: Person, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> tuple[list[set[str]], list[str]]:
    """Return the operations that each person called, and every violation with the request that caused it.

    Requests are generated for the first person. The others send them again: generating takes longer.
    """
    schema: BaseSchema = schemathesis.openapi.from_url(
        f"{suite.url}/openapi.json", config=configuration(people[0])
    )
    schema = schema.include(operation_id=list(include)) if include else schema
    if exclude:
        schema = schema.exclude(operation_id=list(exclude)).exclude(path_regex=THE_SAME_ELSEWHERE)
    asked: set[str] = set()
    checked: Counter[str] = Counter()
    broken: list[str] = []
    others = [Repeater(person) for person in people[1:]]
    for event in from_schema(schema).execute():
        if isinstance(event, events.FatalError):
            raise event.exception
        if isinstance(event, events.NonFatalError):
            broken.append(f"{event.label}: {event.value!r}")
        if isinstance(event, events.ScenarioFinished):
            asked |= {str(event.label)} if event.recorder.interactions else set()
            for check in (each for group in event.recorder.checks.values() for each in group):
                checked[check.name] += 1
                if check.failure_info is not None:
                    failure = check.failure_info
                    broken.append(f"{check.name}: {failure.failure}\n{failure.code_sample}")
            # Much of what a user sends beyond the examples is refused before it is validated.
            if event.phase is not PhaseName.COVERAGE or length(1) > 1:
                broken += [fault for other in others for fault in other.repeat(event.recorder)]
    assert checked.keys() == set(CHECKS)
    return [asked, *(other.asked for other in others)], broken


def configuration(person: Person) -> SchemathesisConfig:
    return SchemathesisConfig.from_dict(
        {
            "seed": 1,
            "max-stream-events": 1,
            "generation": {
                "max-examples": EXAMPLES_PER_OPERATION,
                "deterministic": True,
                "database": "none",
            },
            "checks": {
                "enabled": False,
                **{name: {"enabled": True, **STATUSES.get(name, {})} for name in CHECKS},
            },
            "phases": {"stateful": {"enabled": False}},
            "cache": {"enabled": False},
            "auth": {
                "openapi": {
                    "bearer": {"bearer": person.headers["Authorization"].removeprefix("Bearer ")},
                }
            },
        }
    )


class Repeater:
    """Sends the requests of another person as this one, and checks the responses in the same way."""

    def __init__(self, person: Person) -> None:
        self.asked: set[str] = set()
        self._person, self._session = person, ManagedCookiesSession()
        self._guarded: set[str] = set()  # operations that were seen to refuse callers without a token

    def repeat(self, recorder: RecordedScenario) -> Iterator[str]:
        """Yield every violation."""
        for node in recorder.cases.values():
            if node.parent_id is None:  # not a request of a check
                yield from self._send(node.value)

    def _send(self, case: Case[Any]) -> Iterator[str]:
        operation, headers = case.operation.label, dict(self._person.headers)
        is_guarded = operation in self._guarded
        response = case.call(session=self._session, headers=headers)
        try:
            case.validate_response(
                response, headers=headers, excluded_checks=[ignored_auth] if is_guarded else []
            )
        except FailureGroup as error:
            yield str(error)
        self.asked.add(operation)
        if response.status_code < 300:
            self._guarded.add(operation)


def wrong_types(schema: Document, valid: Document, _bytes_max: int) -> Iterator[Bad]:
    """Replace each field with a list of lists, which no field accepts."""
    for body in (b"[1]", b"NaN", b"null", b'"text"'):
        yield body, "application/json", 422, "body"
    for name in schema.get("properties", ()):
        yield encoded({**valid, name: [[True]]}), "application/json", 422, name


def missing_fields(schema: Document, valid: Document, _bytes_max: int) -> Iterator[Bad]:
    yield b"", "application/json", 400, "body"
    for name in schema.get("required", ()):
        rest = {key: value for key, value in valid.items() if key != name}
        yield encoded(rest), "application/json", 422, name


def unknown_fields(schema: Document, valid: Document, _bytes_max: int) -> Iterator[Bad]:
    # The suite's only open object accepts any key without spaces.
    name = "surprise" if "properties" in schema else "sur prise"
    yield encoded({**valid, name: 1}), "application/json", 422, name


def too_large(_schema: Document, valid: Document, bytes_max: int) -> Iterator[Bad]:
    yield encoded({**valid, "padding": "x" * bytes_max}), "application/json", 413, "body"


def no_json(_schema: Document, valid: Document, _bytes_max: int) -> Iterator[Bad]:
    for body in (b'{"a":', b"{'a': 1}", b"\xff\xfe", b'{"a": "\xff"}', b"[" * 10_000):
        yield body, "application/json", 400, "body"
    yield encoded(valid)[:-1], "application/json", 400, "body"


def other_media_types(_schema: Document, valid: Document, _bytes_max: int) -> Iterator[Bad]:
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""):
        yield encoded(valid), media_type, 415, "Content-Type: application/json"


@pytest.mark.parametrize(
    "kind", [wrong_types, missing_fields, unknown_fields, too_large, no_json, other_media_types]
)
async def test_invalid_body_is_refused_with_the_name_of_the_field(
    suite: Suite, kind: Callable[[Document, Document, int], Iterator[Bad]]
) -> None:
    document = await document_of(suite)
    faults, tried = [], 0
    async with suite.client() as client:
        person = await sign_in_admin(client)
        for method, path, body in bodies(document):
            schema = resolved(document, body["content"]["application/json"]["schema"])
            bad = kind(schema, valid_body(document, schema), body["x-bytes-max"])
            for sent, media_type, status, name in bad:
                if not sent and not body["required"]:
                    continue
                headers = {**person.headers, "Content-Type": media_type}
                response = await client.request(method, path, content=sent, headers=headers)
                tried += 1
                if not is_refused(response, status, name):
                    faults.append(f"{method} {path} {sent[:80]!r}: {response.status_code} {response.text}")

    assert faults == []
    assert tried >= 5


def is_refused(response: httpx.Response, status: int, name: str) -> bool:
    if response.status_code != status or response.headers["content-type"] != "application/problem+json":
        return False
    problem = response.json()
    named = [fault["field"] for fault in problem.get("errors", ())]
    return name in problem["detail"] or any(field.split(".")[0] == name for field in named)


def bodies(document: Document) -> Iterator[tuple[str, str, Document]]:
    """Yield every operation with a JSON body, for ids that do not exist: bodies are validated first.

    Operations whose handlers read the body are left out: GitHub's webhook, which checks the signature before
    it parses the body, and the paths of 3Compute's pages, which expect 400.
    """
    for template, item in document["paths"].items():
        path = "/".join(new_id() if part.startswith("{") else part for part in template.split("/"))
        for method, operation in operations(item):
            body = operation.get("requestBody", {"content": {}})
            if "application/json" in body["content"] and "x-bytes-max" in body:
                yield method.upper(), path, body


def valid_body(document: Document, schema: Document) -> Document:
    """Return the required fields, each with a value of its type."""
    return {name: value_of(document, schema["properties"][name], name) for name in schema.get("required", ())}


def value_of(document: Document, given: Document, name: str) -> Any:
    schema = resolved(document, given)
    if "email" in name:
        return "somebody@example.com"
    if schema.get("enum"):
        return schema["enum"][0]
    if "anyOf" in schema:  # such as an id or null
        return value_of(document, schema["anyOf"][-1], name)
    if schema["type"] == "object":
        return valid_body(document, schema)
    if schema["type"] == "array":
        return [value_of(document, schema["items"], name)] * schema.get("minItems", 0)
    values = {"string": "correct horse", "integer": 1, "number": 1, "boolean": True, "null": None}
    return values[schema["type"]]


def resolved(document: Document, schema: Document) -> Document:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()
