"""The /api/v1 alias: one envelope around the same responses."""

import json

import pytest

from gateway.forwarding import enveloped_answer
from shared.testing import bearer, token
from tests.gateway.backends import Backend, Conversation, Received
from tests.gateway.conftest import Start, StartBackend
from tests.gateway.support import RunningGateway

FIXED = ("timestamp", "request_id", "version", "actor")
PAGE = b'[{"id":1,"total":19.90000000000000000001},{"id":2}]'


async def odd_answer(conversation: Conversation, received: Received) -> None:
    match received.target.rpartition("/")[2]:
        case "unnamed":
            told = received.value("x-status") or ""
            await conversation.answer(b"{}", told, "Content-Type: application/json")
        case "deep":
            await conversation.answer(b"[" * 200_000, "400 Deep", "Content-Type: application/json")
        case "extras":
            extras = f"Page-Extras: {received.value('x-extras') or ''}"
            await conversation.answer(b"[]", "200 OK", "Content-Type: application/json", extras)
        case "odd-link":
            link = f'Link: <//[?limit={"9" * 5000}>; rel="next"'
            await conversation.answer(b"[]", "200 OK", "Content-Type: application/json", link)


async def answers(conversation: Conversation) -> None:
    while received := await conversation.request():
        match received.target.partition("?")[0].rpartition("/")[2]:
            case "page":
                link = 'Link: <?cursor=abc&limit=2>; rel="next"'
                await conversation.answer(PAGE, "200 OK", "Content-Type: application/json", link, 'ETag: "3"')
            case "created":
                await conversation.answer_json({"id": 7}, "201 Created", "Location: /things/7")
            case "invalid":
                problem = {
                    "status": 422,
                    "code": "validation_failed",
                    "detail": "Some fields are wrong.",
                    "errors": [{"field": "quantity", "code": "too_small", "message": "must be above 0"}],
                }
                body = json.dumps(problem).encode()
                await conversation.answer(body, "422 Invalid", "Content-Type: application/problem+json")
            case "plain":
                await conversation.answer(b"a,b\n1,2\n", "200 OK", "Content-Type: text/csv")
            case "nothing":
                await conversation.send("HTTP/1.1 204 No Content\r\n\r\n")
            case "health":
                await conversation.answer_json({"status": "healthy"})
            case "large":
                body = b'"' + b"x" * enveloped_answer.BYTES_MAX + b'"'
                await conversation.answer(body, "200 OK", "Content-Type: application/json")
            case "cut":
                await conversation.send(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
                )
                return
            case _:
                await odd_answer(conversation, received)


@pytest.fixture
async def backend(start_backend: StartBackend) -> Backend:
    return await start_backend(answers)


@pytest.fixture
async def gateway(start_gateway: Start, backend: Backend) -> RunningGateway:
    return await start_gateway(f"""
routes: [{{path: /things, backend: "{backend.url}", methods: [GET, POST]}}]
aliases:
  - {{path: /api/v1, to: /, envelope: v1}}
  - {{path: /api, to: /}}
""")


async def test_successful_response_is_wrapped(gateway: RunningGateway) -> None:
    answer = await gateway.request("POST", "/api/v1/things/created", bearer(token("u-1")))
    body = answer.json()
    assert answer.status == 201
    assert answer.value("content-type") == "application/json"
    assert answer.value("location") == "/api/v1/things/7"
    assert (body["success"], body["message"], body["data"], body["errors"]) == (
        True,
        "Created",
        {"id": 7},
        [],
    )
    meta = body["meta"]
    assert meta["timestamp"].endswith("Z")
    assert meta["request_id"] == answer.value("x-request-id")
    assert meta["version"] == "v1"
    assert meta["actor"] == {"user_id": "u-1", "client_id": None, "role": "user"}


async def test_link_to_the_next_page_is_in_meta(gateway: RunningGateway) -> None:
    answer = await gateway.request("GET", "/api/v1/things/page?limit=2", bearer(token()))
    assert answer.json()["meta"]["pagination"] == {
        "next": "/api/v1/things/page?cursor=abc&limit=2",
        "limit": 2,
    }
    assert PAGE in answer.body, "the data was changed in transit"
    assert answer.value("etag") == '"3"'
    assert answer.value("link") is not None
    head = await gateway.request("HEAD", "/api/v1/things/page?limit=2", bearer(token()))
    assert (head.status, head.value("content-length")) == (200, None)


@pytest.mark.parametrize(
    ("header", "shown"),
    [
        ("total=120, average_rating=4.25, low=-3", {"total": 120, "average_rating": 4.25, "low": -3}),
        ("total=999999999999999", {"total": 999_999_999_999_999}),
        ('total=120,,x=, =3, y=1.2345, z=1e9, Total=1, w=nan, a=1;b=2, v="7", u', {"total": 120}),
        (f"t={'9' * 5000}", {}),
        ("version=2, request_id=3, pagination=4", {}),
        (", ".join(f"n{number}=1" for number in range(500)), {f"n{number}": 1 for number in range(20)}),
    ],
)
async def test_numbers_about_a_list_are_in_meta(
    gateway: RunningGateway, header: str, shown: dict[str, int | float]
) -> None:
    sent = {**bearer(token()), "X-Extras": header}
    enveloped = await gateway.request("GET", "/api/v1/things/extras", sent)
    native = await gateway.request("GET", "/things/extras", sent)

    meta = enveloped.json()["meta"]
    assert {name: meta[name] for name in meta if name not in FIXED} == shown
    assert (meta["version"], type(meta["request_id"])) == ("v1", str)
    assert native.value("page-extras") == enveloped.value("page-extras") == header


async def test_enveloped_response_is_requested_uncompressed(
    gateway: RunningGateway, backend: Backend
) -> None:
    sent = {**bearer(token()), "Accept-Encoding": "gzip", "Accept": "application/json"}
    await gateway.request("GET", "/api/v1/things/page", sent)
    await gateway.request("GET", "/things/page", sent)
    assert [request.value("accept-encoding") for request in backend.received] == [None, "gzip"]
    assert backend.received[0].value("accept") == "application/json"


async def test_problem_is_wrapped_with_its_errors(gateway: RunningGateway) -> None:
    answer = await gateway.request("POST", "/api/v1/things/invalid", bearer(token()))
    body = answer.json()
    assert (answer.status, body["success"], body["data"]) == (422, False, None)
    assert body["message"] == "Some fields are wrong."
    assert body["errors"] == [{"field": "quantity", "code": "too_small", "message": "must be above 0"}]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/things/page", 401, "unauthenticated"),
        ("DELETE", "/api/v1/things/page", 405, "method_not_allowed"),
        ("GET", "/api/v1/nothing/here", 404, "not_found"),
        ("GET", "/api/v1/internal/x", 404, "not_found"),
    ],
)
async def test_refusals_of_the_gateway_are_wrapped(
    gateway: RunningGateway, method: str, path: str, status: int, code: str
) -> None:
    answer = await gateway.request(method, path)
    body = answer.json()
    assert (answer.status, body["success"], body["data"]) == (status, False, None)
    assert body["errors"] == [{"code": code, "message": body["message"]}]
    assert body["meta"]["request_id"] == answer.value("x-request-id")


@pytest.mark.parametrize(
    ("path", "told", "status", "message"),
    [
        ("unnamed", "299 Odd", 299, "Status 299"),
        ("unnamed", "520 Odd", 520, "Status 520"),
        ("deep", "", 400, "Bad Request"),
        ("odd-link", "", 200, "OK"),
    ],
)
async def test_odd_responses_are_wrapped_like_all_others(
    gateway: RunningGateway, path: str, told: str, status: int, message: str
) -> None:
    sent = {**bearer(token()), "X-Status": told} if told else bearer(token())
    answer = await gateway.request("GET", f"/api/v1/things/{path}", sent)
    assert (answer.status, answer.json()["message"]) == (status, message)


async def test_response_that_is_not_json_passes_unchanged(gateway: RunningGateway) -> None:
    wire = await gateway.connect()
    sent = bearer(token())
    answer = await wire.request("GET", "/api/v1/things/plain", sent)
    assert (answer.body, answer.value("content-type")) == (b"a,b\n1,2\n", "text/csv")
    assert (await wire.request("GET", "/api/v1/things/nothing", sent)).status == 204
    assert (await wire.request("GET", "/api/things/page", sent)).body == PAGE
    assert (await wire.request("GET", "/things/page", sent)).body == PAGE


async def test_response_too_large_to_wrap_becomes_a_502(gateway: RunningGateway) -> None:
    answer = await gateway.request("GET", "/api/v1/things/large", bearer(token()))
    assert (answer.status, answer.json()["errors"][0]["code"]) == (502, "answer_too_large")


async def test_response_that_is_cut_off_becomes_a_502(gateway: RunningGateway) -> None:
    answer = await gateway.request("GET", "/api/v1/things/cut", bearer(token()))
    assert (answer.status, answer.json()["errors"][0]["code"]) == (502, "upstream_cut")


async def test_the_gateways_own_pages_are_wrapped(gateway: RunningGateway) -> None:
    answer = await gateway.request("GET", "/api/v1/health")
    body = answer.json()
    assert (answer.status, body["success"]) == (200, True)
    assert set(body["data"]) == {"status", "timestamp", "services"}
    assert answer.value("content-length") == str(len(answer.body))
