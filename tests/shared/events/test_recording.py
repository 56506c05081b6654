"""Audit records: every change in its transaction, every refusal, and what admins read."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from sqlalchemy import select
from starlette.requests import HTTPConnection

from shared.data.database import Database
from shared.events.event import Envelope
from shared.events.recording import Recorder
from shared.http.operations import Operation
from shared.ids import new_id
from shared.process.proxies import Proxies
from shared.testing import bearer, internal_token, running, token
from tests.shared.notes.app import Settings, create_app
from tests.shared.notes.models import EVENTS

Records = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def settings(make_settings: Callable[..., Any], tmp_path: Path, database_url: str) -> Settings:
    made: Settings = make_settings(Settings, gate=tmp_path / "gate", database_url=database_url)
    return made


@pytest.fixture
async def notes(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app, settings, raise_app_exceptions=False) as client:
        yield client


@pytest.fixture
def records(settings: Settings) -> Iterator[Records]:
    database = Database(settings.database_url)

    def read() -> list[dict[str, Any]]:
        with database.transaction(write=False) as session:
            bodies = session.connection().execute(select(EVENTS.outbox.c.body).order_by(EVENTS.outbox.c.seq))
            return [Envelope.model_validate_json(body).data for body in bodies.scalars()]

    yield read
    database.close()


async def test_change_is_recorded_with_who_what_where_and_when(
    notes: httpx.AsyncClient, records: Records
) -> None:
    me = new_id()
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {
        **bearer(token(me)),
        "User-Agent": "curl/8\x1b",
        "X-Request-ID": "r-1",
        "traceparent": f"00-{trace}-00f067aa0ba902b7-01",
        "X-Forwarded-For": "203.0.113.7",
    }
    answer = await notes.post("/notes", json={"text": "a"}, headers=headers)

    (record,) = records()
    assert record.pop("timestamp")
    assert record == {
        "user_id": me,
        "actor": f"user:{me}",
        "action": "ADD_NOTE",
        "resource": answer.json()["id"],
        "ip": "203.0.113.7",
        "user_agent": "curl/8?",
        "metadata": {},
        "outcome": "success",
        "status": 201,
        "service": "notes",
        "request_id": "r-1",
        "trace_id": trace,
    }


async def test_change_that_was_rolled_back_is_not_recorded(
    notes: httpx.AsyncClient, records: Records, signed_in: dict[str, str]
) -> None:
    answer = await notes.post("/notes", json={"text": "refuse after writing"}, headers=signed_in)

    assert answer.status_code == 409
    assert records() == []


async def test_refusals_are_recorded(notes: httpx.AsyncClient, records: Records) -> None:
    somebody = new_id()
    await notes.get("/admin/count", headers=bearer(token(somebody)))
    await notes.delete(f"/notes/{somebody}", headers=bearer(token(somebody)))
    await notes.post("/notes", json={"text": "a"})

    told = [(one["outcome"], one["status"], one["action"], one["actor"]) for one in records()]
    assert told == [
        ("refused", 403, "COUNT_NOTES_FOR_ADMINS", f"user:{somebody}"),
        ("refused", 404, "DELETE_NOTE", f"user:{somebody}"),
        ("refused", 401, "ADD_NOTE", "anonymous"),
    ]


async def test_reads_by_admins_are_recorded_and_those_by_others_are_not(
    notes: httpx.AsyncClient, records: Records
) -> None:
    await notes.get("/notes", headers=bearer(token()))
    await notes.get("/notes", headers=bearer(token(role="admin")))

    assert [(one["action"], one["outcome"]) for one in records()] == [("LIST_NOTES", "success")]


async def test_list_that_an_admin_was_shown_before_is_recorded_once(
    notes: httpx.AsyncClient, records: Records
) -> None:
    admin = bearer(token(role="admin"))
    shown = await notes.get("/notes", headers=admin)
    again = await notes.get("/notes", headers=admin | {"If-None-Match": shown.headers["etag"]})
    of_another = await notes.get(
        "/notes", headers=bearer(token(role="admin")) | {"If-None-Match": shown.headers["etag"]}
    )

    any_page = await notes.get("/notes", headers=admin | {"If-None-Match": "*"})

    assert (again.status_code, of_another.status_code, any_page.status_code) == (304, 200, 200)
    assert [one["status"] for one in records()] == [200, 200, 200]


async def test_repeated_request_is_recorded_once(
    notes: httpx.AsyncClient, records: Records, signed_in: dict[str, str]
) -> None:
    for _ in range(2):
        await notes.post("/notes", json={"text": "a"}, headers={**signed_in, "Idempotency-Key": "k"})

    assert len(records()) == 1


async def test_calling_service_is_recorded_as_the_actor(notes: httpx.AsyncClient, records: Records) -> None:
    await notes.delete("/internal/notes", headers=bearer(internal_token("notes", issuer="orders")))

    assert [(one["actor"], one["user_id"]) for one in records()] == [("service:orders", None)]


async def test_forwarded_address_from_an_untrusted_peer_is_not_recorded(
    settings: Settings, records: Records, signed_in: dict[str, str]
) -> None:
    afar = settings.model_copy(update={"trusted_proxies": ()})
    headers = {**signed_in, "X-Forwarded-For": "203.0.113.7"}
    async with running(create_app, afar) as notes:
        await notes.post("/notes", json={"text": "a"}, headers=headers)

    assert [one["ip"] for one in records()] == ["127.0.0.1"]


async def test_address_is_recorded_although_each_proxy_added_a_line_of_its_own(
    notes: httpx.AsyncClient, records: Records, signed_in: dict[str, str]
) -> None:
    forwarded = [("X-Forwarded-For", "203.0.113.7"), ("X-Forwarded-For", "127.0.0.2")]
    await notes.post("/notes", json={"text": "a"}, headers=[*signed_in.items(), *forwarded])

    assert [one["ip"] for one in records()] == ["203.0.113.7"]


@pytest.mark.parametrize(
    "told",
    [
        "x",
        "00-" + "x" * 32 + "-00f067aa0ba902b7-01",
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-<script>alert(document.domain)</script>-00f067aa0ba902b7-01",
    ],
)
async def test_invalid_trace_id_is_not_recorded(
    notes: httpx.AsyncClient, records: Records, signed_in: dict[str, str], told: str
) -> None:
    await notes.post("/notes", json={"text": "a"}, headers={**signed_in, "traceparent": told})

    assert [one["trace_id"] for one in records()] == [None]


async def test_address_with_a_zone_is_not_recorded(
    notes: httpx.AsyncClient, records: Records, signed_in: dict[str, str]
) -> None:
    headers = {**signed_in, "X-Forwarded-For": "fe80::1%<script>"}
    await notes.post("/notes", json={"text": "a"}, headers=headers)

    assert [one["ip"] for one in records()] == ["127.0.0.1"]


def test_details_that_a_handler_adds_are_the_metadata_of_the_record() -> None:
    recorder = Recorder("notes", cast("Database", None), Proxies(()))
    scope: dict[str, Any] = {"type": "http", "headers": [], "path_params": {}, "client": None}
    trail = recorder.trail(Operation("GET", "/notes", lambda: None), HTTPConnection(scope))
    trail.add(found=2, of="all")
    trail.add(found=3)

    assert trail._record("success", 200).metadata == {"found": 3, "of": "all"}
