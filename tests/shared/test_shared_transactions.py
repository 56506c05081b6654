"""Operations whose requests share a transaction: responses, records, and a request that fails."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from sqlmodel import Session

from shared.caller import Caller
from shared.data.database import Database
from shared.data.statements import insert_row_at_end
from shared.errors import Conflict
from shared.events import Trail
from shared.http.operations import Operation
from shared.identity.tokens import signed_in
from shared.testing import bearer, running, token
from tests.shared.notes.app import Settings, create_app_with
from tests.shared.notes.handlers import NOTES, NoteIn, NoteOut, count_notes
from tests.shared.notes.models import EVENTS

WAIT_SECONDS = 30
ALONE = "alone"


class Jotting:
    """The handler, whose first request waits until it may go on; notes which session each request got."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_go = threading.Event()
        self.sessions: dict[str, list[Session]] = {}

    def may_share(self, body: NoteIn) -> bool:
        self.asked += 1
        return body.text != ALONE

    def jot(self, body: NoteIn, caller: Caller, session: Session, trail: Trail) -> NoteOut:
        """Add a note."""
        self.sessions.setdefault(body.text, []).append(session)
        if body.text == "first":
            assert self.may_go.wait(WAIT_SECONDS)
        trail.add(attempts=[len(self.sessions[body.text])])
        if body.text == "refused":
            raise Conflict
        return NoteOut.unchecked(insert_row_at_end(session, NOTES, owner=caller.id, text=body.text))

    async def behind_first(self, client: httpx.AsyncClient, *texts: str) -> list[httpx.Response]:
        """Send all of these while the first request holds its transaction open."""
        sent = [asyncio.create_task(_post(client, "first"))]
        while "first" not in self.sessions:  # noqa: ASYNC110 - set in another thread
            await asyncio.sleep(0.01)
        sent += [asyncio.create_task(_post(client, text)) for text in texts]
        while self.asked < len(sent):  # noqa: ASYNC110 - a plain counter
            await asyncio.sleep(0.01)
        self.may_go.set()
        return [await each for each in sent][1:]


async def _post(client: httpx.AsyncClient, text: str, **headers: str) -> httpx.Response:
    return await client.post("/notes", json={"text": text}, headers={**bearer(token()), **headers})


@pytest.fixture
def jotting() -> Jotting:
    return Jotting()


@pytest.fixture
def settings(make_settings: Callable[..., Any], database_url: str) -> Settings:
    made: Settings = make_settings(Settings, database_url=database_url)
    return made


@pytest.fixture
async def client(settings: Settings, jotting: Jotting) -> AsyncIterator[httpx.AsyncClient]:
    operation = Operation(
        "POST", "/notes", jotting.jot, status=201, idempotent=True, together=jotting.may_share
    )
    async with running(create_app_with([operation]), settings) as made:
        yield made


def stored(settings: Settings) -> dict[str, str]:
    """Return the ids of all notes by their text."""
    database = Database(settings.database_url)
    with database.transaction(write=False) as session:
        rows = session.connection().execute(select(NOTES.c.text, NOTES.c.id)).all()
    database.close()
    return dict(rows)


def records(settings: Settings) -> list[dict[str, Any]]:
    database = Database(settings.database_url)
    with database.transaction(write=False) as session:
        bodies = session.connection().execute(select(EVENTS.outbox.c.body)).scalars().all()
    database.close()
    return [json.loads(body)["data"] for body in bodies]


async def test_requests_that_arrive_during_a_transaction_share_the_next_one(
    client: httpx.AsyncClient, jotting: Jotting, settings: Settings
) -> None:
    answers = await jotting.behind_first(client, *"abc")

    assert [answer.status_code for answer in answers] == [201, 201, 201]
    assert len({id(jotting.sessions[text][0]) for text in "abc"}) == 1
    assert jotting.sessions["first"][0] is not jotting.sessions["a"][0]
    ids = stored(settings)
    assert [answer.json()["id"] for answer in answers] == [ids[text] for text in "abc"]
    assert {record["resource"] for record in records(settings)} == {*ids.values()}


async def test_refused_request_fails_alone_and_every_success_is_recorded_once(
    client: httpx.AsyncClient, jotting: Jotting, settings: Settings
) -> None:
    answers = await jotting.behind_first(client, "a", "refused", "b")

    assert [answer.status_code for answer in answers] == [201, 409, 201]
    ids = stored(settings)
    assert ids.keys() == {"first", "a", "b"}
    # The note of "a" was rolled back and written again, with another id.
    assert len(jotting.sessions["a"]) == 2
    kept = {record["resource"]: record["metadata"] for record in records(settings)}
    assert kept == {ids["first"]: {"attempts": [1]}, ids["a"]: {"attempts": [2]}, ids["b"]: {"attempts": [1]}}
    assert answers[0].json()["id"] == ids["a"]


@pytest.mark.parametrize(("text", "headers"), [(ALONE, {}), ("keyed", {"Idempotency-Key": "one"})])
async def test_request_that_must_not_share_has_a_transaction_of_its_own(
    client: httpx.AsyncClient, jotting: Jotting, settings: Settings, text: str, headers: dict[str, str]
) -> None:
    jotting.may_go.set()
    own = await _post(client, text, **headers)

    assert own.status_code == 201
    (session,) = jotting.sessions[text]
    assert "common" not in session.info
    assert stored(settings) == {text: own.json()["id"]}
    assert len(records(settings)) == 1


def test_only_an_operation_that_writes_can_share(settings: Settings) -> None:
    reading = Operation("GET", "/notes", count_notes, access=signed_in, together=lambda _body: True)

    with pytest.raises(TypeError, match="only a handler that writes"):
        create_app_with([reading])(settings)
