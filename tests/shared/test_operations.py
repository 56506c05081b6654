"""Typed endpoints: how requests are read, and how they are refused."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from shared.http.operations import Operation
from shared.identity.tokens import public
from shared.ids import new_id
from shared.testing import bearer, running, token
from tests.shared.notes import handlers
from tests.shared.notes.app import Settings, create_app_with
from tests.shared.notes.calls import add

JSON = {"Content-Type": "application/json"}


class TestArguments:
    async def test_handler_gets_path_query_body_and_injected_arguments(
        self, notes: httpx.AsyncClient, signed_in: dict[str, str]
    ) -> None:
        added = await add(notes, signed_in, "first")
        shown = await notes.get(f"/notes/{added['id'].upper()}", headers=signed_in)
        listed = await notes.get("/notes", params={"limit": 1}, headers=signed_in)

        assert shown.json() == added
        assert listed.json() == [added]

    async def test_fixed_segments_come_before_parameters(
        self, notes: httpx.AsyncClient, signed_in: dict[str, str]
    ) -> None:
        added = await add(notes, signed_in)

        assert (await notes.get("/notes/newest", headers=signed_in)).json() == added

    async def test_repeated_parameter_is_accepted_for_list_fields(
        self, notes: httpx.AsyncClient, signed_in: dict[str, str]
    ) -> None:
        added = await add(notes, signed_in)
        both = [("owner", added["owner"]), ("owner", new_id())]

        assert len((await notes.get("/notes", params=both, headers=signed_in)).json()) == 1
        assert (await notes.get("/notes", params=both[1:], headers=signed_in)).json() == []

    async def test_repeated_parameter_is_refused_for_other_fields(
        self, notes: httpx.AsyncClient, signed_in: dict[str, str]
    ) -> None:
        response = await notes.get("/notes?limit=1&limit=2", headers=signed_in)

        assert response.status_code == 422
        assert response.json()["errors"] == [
            {"field": "limit", "code": "repeated", "message": "must be given only once"}
        ]

    async def test_too_many_parameters_are_refused(
        self, notes: httpx.AsyncClient, signed_in: dict[str, str]
    ) -> None:
        query = "&".join(f"p{number}=1" for number in range(101))
        response = await notes.get(f"/notes?{query}", headers=signed_in)

        assert response.status_code == 400
        assert "100" in response.json()["detail"]

    async def test_optional_body_may_be_left_out(
        self, notes: httpx.AsyncClient, signed_in: dict[str, str]
    ) -> None:
        address = f"/notes/{(await add(notes, signed_in))['id']}/mark"

        assert (await notes.put(address, headers=signed_in)).json() == {"hello": "red"}
        coloured = await notes.put(address, json={"colour": "blue"}, headers=signed_in)
        assert coloured.json() == {"hello": "blue"}
        assert (await notes.put(address, json={"size": 1}, headers=signed_in)).status_code == 422

    async def test_public_endpoint_identifies_a_caller_with_a_token(self, notes: httpx.AsyncClient) -> None:
        user_id = new_id()

        assert (await notes.get("/greeting")).json() == {"hello": "stranger"}
        assert (await notes.get("/greeting", headers=bearer(token(user_id)))).json() == {"hello": user_id}
        assert (await notes.get("/greeting", headers=bearer("wrong"))).status_code == 401

    async def test_handler_may_take_the_request(self, settings: Settings) -> None:
        def show_address(request: Request) -> handlers.Greeting:
            return handlers.Greeting(hello=request.url.path)

        create_app = create_app_with([Operation("GET", "/address", show_address, access=public)])
        async with running(create_app, settings) as notes:
            assert (await notes.get("/address")).json() == {"hello": "/address"}

    async def test_handler_may_take_what_the_service_provides(
        self, notes: httpx.AsyncClient, settings: Settings
    ) -> None:
        settings.gate.touch()

        assert (await notes.get("/gate")).json() == {"hello": "you waited"}


class TestBody:
    @pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/LD+JSON"])
    async def test_json_content_types_are_accepted(self, notes: httpx.AsyncClient, content_type: str) -> None:
        headers = {"Content-Type": content_type}
        response = await notes.post("/numbers", content=b'{"whole": 7}', headers=headers)

        assert response.status_code == 200
        assert response.json()["whole"] == 7

    @pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "json", ""])
    async def test_other_content_types_are_rejected_with_415(
        self, notes: httpx.AsyncClient, content_type: str
    ) -> None:
        headers = {"Content-Type": content_type}
        response = await notes.post("/numbers", content=b"{}", headers=headers)

        assert response.status_code == 415
        assert response.json()["code"] == "unsupported_media_type"
        assert response.json()["errors"][0]["field"] == "Content-Type"

    @pytest.mark.parametrize(
        "content",
        [
            b"{",
            b"\xff\xfe{}",
            b'{"nested": "\xc3\x28"}',
            b'{"nested": "\\ud800"}',
            b'{"nested": ' + b"[" * 4_000 + b"]" * 4_000 + b"}",
            b'{"nested": ' + b"9" * 5_000 + b"}",
        ],
        ids=["broken", "not utf-8", "bad utf-8 inside", "half a surrogate", "deep", "endless number"],
    )
    async def test_body_that_is_not_json_is_rejected_with_400(
        self, notes: httpx.AsyncClient, content: bytes
    ) -> None:
        response = await notes.post("/numbers", content=content, headers=JSON)

        assert response.status_code == 400
        assert response.json()["detail"] == "The body is not JSON."
        assert [error["field"] for error in response.json()["errors"]] == ["body"]

    async def test_number_is_rejected_as_an_id(
        self, notes: httpx.AsyncClient, signed_in: dict[str, str]
    ) -> None:
        response = await notes.get("/notes/7", headers=signed_in)

        assert response.status_code == 422
        assert [(one["field"], one["message"]) for one in response.json()["errors"]] == [
            ("note_id", "must be a UUID, like every `id` in a response")
        ]

    async def test_missing_body_is_rejected_with_400(self, notes: httpx.AsyncClient) -> None:
        response = await notes.post("/numbers")

        assert response.status_code == 400
        assert response.json()["errors"] == [{"field": "body", "code": "json_invalid", "message": "is empty"}]

    @pytest.mark.parametrize(
        ("content", "field"),
        [
            (b"[]", "body"),
            (b"null", "body"),
            (b'"text"', "body"),
            (b'{"whole": "1"}', "whole"),
            (b'{"whole": true}', "whole"),
            (b'{"whole": 1.5}', "whole"),
            (b'{"whole": NaN}', "whole"),
            (b'{"real": NaN}', "real"),
            (b'{"real": -Infinity}', "real"),
            (b'{"real": 1e999}', "real"),
            (b'{"when": "yesterday"}', "when"),
            (b'{"whole": 1, "extra": 2}', "extra"),
        ],
    )
    async def test_wrong_values_are_rejected_with_422_and_their_fields(
        self, notes: httpx.AsyncClient, content: bytes, field: str
    ) -> None:
        response = await notes.post("/numbers", content=content, headers=JSON)

        assert response.status_code == 422, response.text
        assert [error["field"] for error in response.json()["errors"]] == [field]

    @pytest.mark.parametrize("text", ["", "  ", "a\x00b", "x" * 201, None, 7, ["a"]])
    async def test_text_that_cannot_be_stored_is_rejected_with_422(
        self, notes: httpx.AsyncClient, signed_in: dict[str, str], text: object
    ) -> None:
        response = await notes.post("/notes", json={"text": text}, headers=signed_in)

        assert response.status_code == 422
        assert [error["field"] for error in response.json()["errors"]] == ["text"]

    async def test_all_faults_are_reported_together(self, notes: httpx.AsyncClient) -> None:
        response = await notes.post("/numbers", json={"whole": "x", "real": "y", "z": 1})

        assert [error["field"] for error in response.json()["errors"]] == ["whole", "real", "z"]

    async def test_number_of_reported_faults_is_limited(self, notes: httpx.AsyncClient) -> None:
        body = {"x" * 500 + str(number): number for number in range(120)}
        response = await notes.post("/numbers", json=body)

        assert response.status_code == 422
        assert len(response.json()["errors"]) == 100
        assert len(response.content) < 50_000

    async def test_body_declared_larger_than_the_limit_is_rejected_with_413(
        self, notes: httpx.AsyncClient, signed_in: dict[str, str]
    ) -> None:
        response = await notes.post("/notes", json={"text": "x" * 10_000}, headers=signed_in)

        assert response.status_code == 413
        assert response.json()["limit_bytes"] == 10_000
        assert response.json()["errors"][0]["field"] == "body"

    async def test_chunked_body_larger_than_the_limit_is_rejected_with_413(
        self, notes: httpx.AsyncClient, signed_in: dict[str, str]
    ) -> None:
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            while True:
                sent += 1
                yield b"x" * 1_000

        response = await notes.post("/notes", content=endless(), headers=signed_in | JSON)

        assert response.status_code == 413
        assert response.json()["errors"][0]["field"] == "body"
        assert sent == 11

    async def test_connection_that_closes_during_the_body_is_a_bad_request(self, settings: Settings) -> None:
        chunks = iter(
            [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
        )
        sent: list[Any] = []

        async def receive() -> Any:
            return next(chunks)

        async def send(message: Any) -> None:
            sent.append(message)

        app = create_app_with([Operation("POST", "/numbers", handlers.add_numbers, access=public)])(settings)
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/numbers",
            "query_string": b"",
            "headers": [(b"content-type", b"application/json")],
        }
        async with app.router.lifespan_context(app):
            await app(scope, receive, send)

        assert sent[0]["status"] == 400
        assert b"closed before" in sent[1]["body"]


class TestMethods:
    @pytest.mark.parametrize("method", ["PATCH", "DELETE", "OPTIONS", "TRACE"])
    async def test_method_without_an_operation_is_rejected_with_405(
        self, notes: httpx.AsyncClient, method: str
    ) -> None:
        response = await notes.request(method, "/notes")

        assert response.status_code == 405
        assert response.headers["allow"] == "GET, HEAD, POST"
        assert response.json()["code"] == "method_not_allowed"

    async def test_wrong_method_on_operational_paths_is_rejected_with_405(
        self, notes: httpx.AsyncClient
    ) -> None:
        response = await notes.post("/health")

        assert response.status_code == 405
        assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD"}
        assert response.json()["code"] == "method_not_allowed"

    async def test_head_has_the_headers_of_get_and_no_body(self, notes: httpx.AsyncClient) -> None:
        shown = await notes.get("/greeting")
        head = await notes.head("/greeting")

        assert head.status_code == 200
        assert head.headers["content-length"] == shown.headers["content-length"]

    @pytest.mark.parametrize("path", ["/nowhere", "/notes/", "/notes//", "//notes"])
    async def test_unknown_path_is_rejected_with_404(self, notes: httpx.AsyncClient, path: str) -> None:
        response = await notes.get(f"http://service{path}")

        assert response.status_code == 404
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["code"] == "not_found"
        assert response.json()["detail"].startswith("This path does not exist; ")
        assert response.json()["detail"].endswith("Remove the trailing slash.") == path.endswith("/")
