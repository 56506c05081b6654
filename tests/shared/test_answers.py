"""Typed endpoints: responses, access, and when changes are committed."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

import httpx
import pytest
from pydantic import AfterValidator, Field
from sqlmodel import Session
from starlette.responses import Response, StreamingResponse
from structlog.testing import capture_logs

from shared.caller import Caller
from shared.data.database import WAITING_MAX
from shared.http.operations import Operation
from shared.http.schemas import Input
from shared.identity.tokens import public
from shared.ids import new_id
from shared.testing import TEST_INTERNAL_SECRET, bearer, internal_token, running, token
from tests.shared.notes import handlers
from tests.shared.notes.app import Settings, create_app_with
from tests.shared.notes.calls import add, count

JSON = {"Content-Type": "application/json"}


class TestAnswer:
    async def test_response_of_a_handler_is_sent_unchanged(self, notes: httpx.AsyncClient) -> None:
        response = await notes.get("/picture")

        assert response.content == b"\x89PNG"
        assert response.headers["content-type"] == "image/png"
        assert response.headers["x-size"] == "4"

    async def test_created_resource_is_sent_with_location_and_etag(
        self, notes: httpx.AsyncClient, signed_in: dict[str, str]
    ) -> None:
        response = await notes.post("/notes", json={"text": "a"}, headers=signed_in)
        shown = await notes.get(response.headers["location"], headers=signed_in)

        assert response.headers["location"] == f"/notes/{response.json()['id']}"
        assert response.headers["etag"] == shown.headers["etag"] == '"1"'
        assert response.headers["cache-control"] == "no-store"

    async def test_handler_without_a_result_gives_a_204(
        self, notes: httpx.AsyncClient, signed_in: dict[str, str]
    ) -> None:
        added = await add(notes, signed_in)
        response = await notes.delete(f"/notes/{added['id']}", headers=signed_in)

        assert response.status_code == 204
        assert response.content == b""
        assert not {"content-type", "content-length", "etag"} & set(response.headers)

    async def test_link_header_leads_to_the_next_page(
        self, notes: httpx.AsyncClient, signed_in: dict[str, str]
    ) -> None:
        added = [(await add(notes, signed_in, f"note {number}"))["id"] for number in range(5)]
        owner = (await notes.get("/notes/newest", headers=signed_in)).json()["owner"]
        seen, address = [], f"http://service/notes?limit=2&owner={owner}&owner={new_id()}"
        while address:
            response = await notes.get(address, headers=signed_in)
            seen.append([note["id"] for note in response.json()])
            following = response.links.get("next")
            address = str(response.url.join(following["url"])) if following else ""

        assert seen == [added[4:2:-1], added[2:0:-1], added[0:1]]

    @pytest.mark.parametrize(
        ("if_match", "status"),
        [('"1"', 200), ('"7", "1"', 200), ("*", 200), ('"2"', 412), ('W/"1"', 412), ("", 412)],
    )
    async def test_if_match_decides_whether_a_change_is_made(
        self, notes: httpx.AsyncClient, signed_in: dict[str, str], if_match: str, status: int
    ) -> None:
        address = f"/notes/{(await add(notes, signed_in))['id']}"
        headers = signed_in | {"If-Match": if_match}
        response = await notes.put(address, json={"text": "b"}, headers=headers)

        assert response.status_code == status
        shown = await notes.get(address, headers=signed_in)
        assert shown.json()["text"] == ("b" if status == 200 else "a")
        assert shown.headers["etag"] == ('"2"' if status == 200 else '"1"')


class TestListTags:
    async def test_list_that_is_known_already_is_not_sent_again(
        self, notes: httpx.AsyncClient, signed_in: dict[str, str]
    ) -> None:
        for text in "abc":
            await add(notes, signed_in, text)
        whole = await notes.get("/notes?limit=2", headers=signed_in)
        tag = whole.headers["etag"]

        for known in (tag, f'"other", {tag}', tag.removeprefix("W/")):
            headers = signed_in | {"If-None-Match": known}
            same = await notes.get("/notes?limit=2", headers=headers)
            assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
            assert same.links == whole.links
            assert "content-length" not in same.headers

    async def test_tag_changes_with_the_page_its_end_its_address_and_its_reader(
        self, notes: httpx.AsyncClient, signed_in: dict[str, str]
    ) -> None:
        async def tag(query: str = "limit=2", headers: dict[str, str] = signed_in) -> str:
            return (await notes.get(f"/notes?{query}", headers=headers)).headers["etag"]

        empty = [await tag(), await tag("limit=3"), await tag(headers=bearer(token()))]
        first, second = await add(notes, signed_in, "1"), await add(notes, signed_in, "2")
        tags = [*empty, await tag()]
        await add(notes, signed_in, "3")
        await notes.delete(f"/notes/{first['id']}", headers=signed_in)
        tags.append(await tag())
        await notes.put(f"/notes/{second['id']}", json={"text": "b"}, headers=signed_in)
        tags.append(await tag())

        assert len(set(tags)) == len(tags)
        changed = await notes.get(
            "/notes?limit=2", headers=signed_in | {"If-None-Match": ", ".join(tags[:-1])}
        )
        assert changed.status_code == 200


class TestTransaction:
    async def test_refusal_rolls_the_transaction_back(
        self, notes: httpx.AsyncClient, signed_in: dict[str, str]
    ) -> None:
        response = await notes.post("/notes", json={"text": "refuse after writing"}, headers=signed_in)

        assert response.status_code == 409
        assert response.json()["allowed"] == ["yes"]
        assert await count(notes) == 0

    @pytest.mark.parametrize("kind", ["serialisation", "database", "anything"])
    async def test_unhandled_error_rolls_back_and_reveals_nothing(
        self, notes: httpx.AsyncClient, kind: str
    ) -> None:
        with capture_logs() as lines:
            response = await notes.post(f"/accidents/{kind}", headers={"X-Request-ID": "find-me"})

        assert response.status_code == 500
        assert response.headers["x-request-id"] == "find-me"
        assert response.json() == {
            "type": "about:blank",
            "title": "Internal Server Error",
            "status": 500,
            "detail": "Something went wrong on the server. Look it up in the log by request id.",
            "error": "Something went wrong on the server. Look it up in the log by request id.",
            "code": "internal_error",
            "request_id": "find-me",
        }
        assert await count(notes) == 0
        errors = [line for line in lines if line["log_level"] == "error"]
        assert [line["event"] for line in errors] == ["unhandled_error"]
        assert [line["status"] for line in lines if line["event"] == "request"] == [500]

    async def test_unhandled_error_is_not_passed_on_to_the_server(self, settings: Settings) -> None:
        create_app = create_app_with([Operation("POST", "/accidents/{kind}", handlers.have_an_accident)])
        async with running(create_app, settings, raise_app_exceptions=True) as notes:
            response = await notes.post("/accidents/x", headers=bearer(token()))

        assert response.status_code == 500

    async def test_response_that_breaks_off_is_not_started_again(self, settings: Settings) -> None:
        def break_off() -> Response:
            def parts() -> Iterator[bytes]:
                yield b"the first part"
                raise RuntimeError("no second part")

            return StreamingResponse(parts())

        create_app = create_app_with([Operation("GET", "/parts", break_off, access=public)])
        with capture_logs() as lines:
            async with running(create_app, settings) as notes:
                with pytest.raises(RuntimeError, match="no second part"):
                    await notes.get("/parts")

        assert [line["status"] for line in lines if line["event"] == "request"] == [200]
        assert [line["event"] for line in lines if line["log_level"] == "error"] == ["unhandled_error"]


class TestRequestId:
    @pytest.mark.parametrize("request_id", ["a", "A-Z_0.9", "x" * 128])
    async def test_valid_request_id_is_kept(self, notes: httpx.AsyncClient, request_id: str) -> None:
        response = await notes.get("/nowhere", headers={"X-Request-ID": request_id})

        assert response.headers["x-request-id"] == request_id
        assert response.json()["request_id"] == request_id

    @pytest.mark.parametrize("request_id", ["", "a b", "x" * 129, "a\tb", '"', "{}", "é"])
    async def test_invalid_request_id_is_replaced(self, notes: httpx.AsyncClient, request_id: str) -> None:
        headers = [(b"X-Request-ID", request_id.encode())]
        response = await notes.get("/nowhere", headers=headers)

        assert response.headers["x-request-id"] != request_id
        assert len(response.headers["x-request-id"]) == 36


class TestAccess:
    async def test_internal_operation_accepts_another_service(self, notes: httpx.AsyncClient) -> None:
        response = await notes.get("/internal/count", headers=bearer(internal_token("notes")))

        assert response.json() == {"count": 0}

    @pytest.mark.parametrize(
        "presented",
        [
            None,
            internal_token("orders"),
            internal_token("notes", seconds=-10),
            token(),
            token(role="admin"),
            token(aud="internal:notes"),
            TEST_INTERNAL_SECRET,
            "",
        ],
        ids=["none", "for another", "expired", "user", "admin", "user for internal", "secret", "empty"],
    )
    async def test_caller_without_token_is_rejected_with_401(
        self, notes: httpx.AsyncClient, presented: str | None
    ) -> None:
        headers = {} if presented is None else bearer(presented)
        response = await notes.get("/internal/count", headers=headers)

        assert response.status_code == 401
        assert response.headers["www-authenticate"].startswith("Bearer")

    async def test_internal_token_is_rejected_by_other_operations(self, notes: httpx.AsyncClient) -> None:
        assert (await notes.get("/notes", headers=bearer(internal_token("notes")))).status_code == 401

    async def test_operation_for_admins_refuses_everyone_else(
        self, notes: httpx.AsyncClient, signed_in: dict[str, str]
    ) -> None:
        admin = bearer(token(role="admin"))

        assert (await notes.get("/admin/count", headers=admin)).status_code == 200
        assert (await notes.get("/admin/count")).status_code == 401
        refused = await notes.get("/admin/count", headers=signed_in)
        assert refused.status_code == 403
        assert refused.json()["code"] == "forbidden"


class TestLoad:
    async def test_requests_beyond_the_queue_are_rejected_with_503(self, settings: Settings) -> None:
        """With busy threads and a full queue, the next request is rejected at once; the others continue."""
        release = threading.Event()

        def hold(session: Session) -> handlers.Greeting:
            release.wait(30)
            release.set()  # even if the test has failed, so that the others need not time out in turn
            return handlers.Greeting(hello="you waited")

        create_app = create_app_with([Operation("GET", "/hold", hold, access=public)])
        one_thread = settings.model_copy(update={"database_pool": 1})
        async with running(create_app, one_thread) as notes:
            # A few more than fit, because the service's own work sometimes takes a slot.
            asking = [asyncio.create_task(notes.get("/hold")) for _ in range(WAITING_MAX + 10)]
            answered, _ = await asyncio.wait(asking, timeout=30, return_when=asyncio.FIRST_COMPLETED)
            refused = answered.pop().result()
            alive = await notes.get("/health")
            release.set()
            answers = await asyncio.gather(*asking)

        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["code"] == "overloaded"
        assert alive.status_code == 200
        statuses = Counter(answer.status_code for answer in answers)
        assert statuses.keys() == {200, 503}
        assert statuses[503] <= 20


async def asks_for_a_session(session: Session) -> None: ...


def asks_for_nothing() -> None: ...


def asks_for_a_thread(thread: threading.Thread) -> None: ...


def answers_a_response(caller: Caller, session: Session) -> Response:
    return Response(json.dumps({}))


class TestStart:
    @pytest.mark.parametrize(
        ("handler", "idempotent", "options", "message"),
        [
            (asks_for_a_session, False, {}, "would block the loop"),
            (asks_for_a_thread, False, {}, "nothing provides thread"),
            (asks_for_nothing, True, {}, "needs a handler with a Session"),
            (handlers.add_note, True, {"idempotency": None}, "an IdempotencyStore"),
            (answers_a_response, True, {}, "a Response cannot be stored"),
        ],
    )
    def test_service_with_a_handler_that_cannot_work_does_not_start(
        self,
        settings: Settings,
        handler: Callable[..., Any],
        idempotent: bool,
        options: dict[str, Any],
        message: str,
    ) -> None:
        with pytest.raises(TypeError, match=message) as raised:
            create_app_with([Operation("POST", "/x", handler, idempotent=idempotent)], **options)(settings)
        assert handler.__name__ in str(raised.value)

    def test_two_operations_cannot_have_the_same_path_and_method(self, settings: Settings) -> None:
        twice = [Operation("GET", "/x", handlers.list_notes), Operation("GET", "/x", handlers.count_notes)]
        with pytest.raises(TypeError, match="GET /x"):
            create_app_with(twice)(settings)

    def test_two_operations_cannot_have_the_same_name(self, settings: Settings) -> None:
        """The name is the operationId, and part of the scope of an Idempotency-Key."""
        twice = [Operation("GET", "/x", handlers.count_notes), Operation("GET", "/y", handlers.count_notes)]
        with pytest.raises(TypeError, match="count_notes"):
            create_app_with(twice)(settings)


class TestRestOfThePath:
    """`{name:path}` in the path of an operation."""

    async def test_rest_of_the_path_is_given_with_its_slashes(self, settings: Settings) -> None:
        def show(rest: str) -> dict[str, str]:
            return {"rest": rest}

        def show_fixed() -> dict[str, str]:
            return {"rest": "fixed"}

        create_app = create_app_with(
            [
                Operation("GET", "/trees/list", show_fixed, access=public),
                Operation("GET", "/trees/{rest:path}", show, access=public),
            ]
        )
        async with running(create_app, settings) as notes:
            found = {
                path: (await notes.get(f"/trees/{path}")).json()["rest"]
                for path in ("a", "a/b/c.txt", "a//b", "a%20b/%C3%A9", "a%2Fb", "list/all", "list")
            }
            document = (await notes.get("/openapi.json")).json()
            outside = await notes.get("/tree/a")

        assert found == {
            "a": "a",
            "a/b/c.txt": "a/b/c.txt",
            "a//b": "a//b",
            "a%20b/%C3%A9": "a b/é",
            "a%2Fb": "a/b",
            "list/all": "list/all",
            "list": "fixed",
        }
        (parameter,) = document["paths"]["/trees/{rest}"]["get"]["parameters"]
        assert (parameter["name"], parameter["in"], parameter["required"]) == ("rest", "path", True)
        assert outside.status_code == 404


class TestErrorLine:
    """`error` of a refusal, for clients that show nothing else."""

    @pytest.mark.parametrize(
        ("content", "error"),
        [
            ('{"text": 1, "more": 2}', "text: must be text"),
            ("[]", "must be a JSON object"),
            (None, "A valid bearer token is needed."),
        ],
    )
    async def test_error_line_says_what_is_wrong_with_the_first_field(
        self, notes: httpx.AsyncClient, signed_in: dict[str, str], content: str | None, error: str
    ) -> None:
        headers = {} if content is None else signed_in
        refused = await notes.post("/notes", content=content or "{}", headers=JSON | headers)
        problem = refused.json()

        assert problem["error"].startswith(error)
        if problem["status"] == 422:
            assert problem["detail"] == "Some fields are invalid; `errors` lists them."

    async def test_faults_name_fields_and_not_the_types_that_a_field_may_have(
        self, settings: Settings
    ) -> None:
        class Careful(Input):
            color: Annotated[str, AfterValidator(_color)] | Literal[""] | None = None
            parts: list[Annotated[int, Field(ge=1)] | str] = Field(default_factory=list)

        def keep(body: Careful) -> dict[str, str]:
            return {}

        create_app = create_app_with([Operation("POST", "/careful", keep, access=public)])
        async with running(create_app, settings) as notes:
            refused = await notes.post("/careful", json={"color": "red", "parts": [1, []]})
            accepted = await notes.post("/careful", json={"color": ""})

        problem = refused.json()
        assert problem["error"] == "color: must be blue"
        assert {fault["field"] for fault in problem["errors"]} == {"color", "parts.1"}
        assert all(fault["message"] for fault in problem["errors"])
        assert accepted.status_code == 200


def _color(text: str) -> str:
    if text != "blue":
        raise ValueError("must be blue")
    return text
