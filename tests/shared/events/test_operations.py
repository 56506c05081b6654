"""The endpoints with which admins look at undelivered events, replay dead ones and drop them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from sqlmodel import Session
from starlette.applications import Starlette

from shared.clock import now
from shared.data.bulk import insert_rows
from shared.data.database import Database
from shared.events import Events, Recorded, Subscriber
from shared.events.event import Envelope
from shared.events.operations import IDS_MAX
from shared.events.parked import NEVER
from shared.ids import new_id
from shared.peers.client import HttpClient
from shared.service import create_service
from shared.testing import bearer, running, token
from tests.shared.events.things import Counted, envelope
from tests.shared.notes.app import Settings
from tests.shared.notes.models import EVENTS

BEGIN = datetime(2026, 1, 1, 12, 0, 0, 123456, UTC)
ADMIN = bearer(token(role="admin"))
SECONDS = 30
LATER = timedelta(minutes=10)  # a longer pause counts as over: the clock may have been set back
PATH = "/events/notes"


@pytest.fixture
def settings(make_settings: Callable[..., Any], tmp_path: Path, database_url: str) -> Settings:
    made: Settings = make_settings(Settings, gate=tmp_path / "gate", database_url=database_url)
    return made


@pytest.fixture
async def applied() -> asyncio.Queue[int]:
    """The numbers of the events that the service has applied."""
    return asyncio.Queue()


@pytest.fixture
async def service(settings: Settings, applied: asyncio.Queue[int]) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service that receives events."""
    loop = asyncio.get_running_loop()

    def apply(_session: Session, events: Sequence[Counted]) -> None:
        for event in events:
            loop.call_soon_threadsafe(applied.put_nowait, event.number)

    def create(settings: Settings) -> Starlette:
        return create_service(
            settings,
            [],
            client=HttpClient(),
            database=Database(settings.database_url, settings.database_pool),
            events=Events(EVENTS, {Counted: apply}, {"keeper": Subscriber("http://127.0.0.1:9", Recorded)}),
        )

    async with running(create, settings) as client:
        yield client


def store(settings: Settings, number: int, *, is_dead: bool = True) -> list[str]:
    """Store this many received events, two for each moment; return their ids in order of arrival."""
    events = [envelope(each, f"{each}") for each in range(number)]
    rows = [
        {
            "id": event.id,
            "topic": event.topic,
            "key": event.key,
            "body": event.model_dump_json(),
            "received": BEGIN + timedelta(microseconds=each // 2),
            "due": NEVER if is_dead else now() + LATER,
            "attempts": 8,
            "dead": is_dead,
            "blocks": False,
            "reason": "broken",
        }
        for each, event in enumerate(events)
    ]
    database = Database(settings.database_url)
    with database.transaction() as session:
        insert_rows(session, EVENTS.parked, rows)
    database.close()
    return [event.id for event in events]


def records(settings: Settings) -> list[dict[str, Any]]:
    database = Database(settings.database_url)
    with database.transaction(write=False) as session:
        bodies = session.connection().execute(select(EVENTS.outbox.c.body).order_by(EVENTS.outbox.c.seq))
        found = [Envelope.model_validate_json(body).data for body in bodies.scalars()]
    database.close()
    return found


async def dead(service: httpx.AsyncClient) -> list[str]:
    listed = await service.get(f"{PATH}/undelivered", headers=ADMIN)
    return [one["id"] for one in listed.json()]


async def test_summary_counts_what_waits_is_retried_and_is_dead_and_leaves_no_record(
    service: httpx.AsyncClient, settings: Settings
) -> None:
    nothing = await service.get(PATH, headers=ADMIN)
    store(settings, 3)
    store(settings, 2, is_dead=False)
    await service.get(
        f"{PATH}/undelivered", headers=ADMIN
    )  # recorded: an event for a subscriber that is away
    shown = (await service.get(PATH, headers=ADMIN)).json()

    nobody = {"subscriber": "keeper", "number": 0, "oldest": None, "attempts": 0, "last_error": None}
    assert nothing.json() == {"waiting": [nobody], "parked": 0, "dead": 0}
    (waiting,) = shown["waiting"]
    assert (shown["parked"], shown["dead"]) == (2, 3)
    assert (waiting["subscriber"], waiting["number"]) == ("keeper", 1)
    assert waiting["oldest"] is not None
    assert [one["action"] for one in records(settings)] == ["LIST_UNDELIVERED_EVENTS"]


async def test_undelivered_events_are_listed_by_state_newest_first_page_by_page(
    service: httpx.AsyncClient, settings: Settings
) -> None:
    ids, alive = store(settings, 5), store(settings, 1, is_dead=False)
    found, address = [], f"{PATH}/undelivered?limit=2"
    for _ in range(3):
        page = await service.get(address, headers=ADMIN)
        found.append([one["id"] for one in page.json()])
        address = str(page.url.join(page.links["next"]["url"])) if page.links else ""
    parked = (await service.get(f"{PATH}/undelivered?state=parked", headers=ADMIN)).json()

    assert found == [[ids[4], ids[3]], [ids[2], ids[1]], [ids[0]]]
    assert address == ""
    assert parked[0] | {"received": "", "due": ""} == {
        "id": alive[0],
        "topic": "thing.counted",
        "key": "thing 0",
        "state": "parked",
        "attempts": 8,
        "received": "",
        "due": "",
        "blocks": False,
        "reason": "broken",
    }


@pytest.mark.parametrize("cursor", ["x", "é", "MS4x-", "OTk5OTk5OTk5OTk5OTk5OTk5OS4x"])
async def test_cursor_from_elsewhere_is_refused(service: httpx.AsyncClient, cursor: str) -> None:
    refused = await service.get(f"{PATH}/undelivered", params={"cursor": cursor}, headers=ADMIN)

    assert refused.status_code == 422
    assert [one["field"] for one in refused.json()["errors"]] == ["cursor"]


async def test_unsent_events_are_listed_for_each_subscriber_in_order_page_by_page(
    service: httpx.AsyncClient, settings: Settings
) -> None:
    events = [envelope(each, f"{each}") for each in range(5)]
    waiting = {"created": BEGIN, "attempts": 3, "last_error": "refused"}
    rows = [
        {"subscriber": "away" if each else "keeper", "key": one.key, "body": one.model_dump_json(), **waiting}
        for each, one in enumerate(events)
    ]
    sent = {**rows[1], "body": envelope(9, "9").model_dump_json(), "sent_as": "1-1", "sent_in": "life"}
    database = Database(settings.database_url)
    with database.transaction() as session:
        insert_rows(session, EVENTS.outbox, rows)
        insert_rows(session, EVENTS.outbox, [sent])
    database.close()
    found, address = [], f"{PATH}/unsent?subscriber=away&limit=2"
    for _ in range(2):
        page = await service.get(address, headers=ADMIN)
        found.append(page.json())
        address = str(page.url.join(page.links["next"]["url"])) if page.links else ""

    assert [[one["id"] for one in page] for page in found] == [
        [events[1].id, events[2].id],
        [events[3].id, events[4].id],
    ]
    assert address == ""
    assert found[0][0] == {
        "id": events[1].id,
        "topic": "thing.counted",
        "key": "thing 1",
        "created": "2026-01-01T12:00:00.123456Z",
        "attempts": 3,
        "last_error": "refused",
    }
    assert (await service.get(f"{PATH}/unsent", headers=ADMIN)).status_code == 422
    assert (await service.get(f"{PATH}/unsent?subscriber=nobody", headers=ADMIN)).json() == []


async def test_event_is_shown_with_its_content(service: httpx.AsyncClient, settings: Settings) -> None:
    (event_id,) = store(settings, 1)
    shown = (await service.get(f"{PATH}/undelivered/{event_id}", headers=ADMIN)).json()

    assert (shown["state"], shown["due"], shown["source"]) == ("dead", None, "test")
    assert shown["data"] == {"thing": "0", "number": 0}
    assert (await service.get(f"{PATH}/undelivered/{new_id()}", headers=ADMIN)).status_code == 404


async def test_replayed_events_are_applied_and_the_replay_is_recorded(
    service: httpx.AsyncClient, settings: Settings, applied: asyncio.Queue[int]
) -> None:
    ids = store(settings, 3)
    done = await service.post(f"{PATH}/replay", json={"ids": [ids[0], ids[2], new_id()]}, headers=ADMIN)
    async with asyncio.timeout(SECONDS):
        numbers = [await applied.get(), await applied.get()]

    assert done.json() == {"ids": [ids[0], ids[2]]}
    assert sorted(numbers) == [0, 2]
    assert await dead(service) == [ids[1]]
    (record,) = (one for one in records(settings) if one["action"] == "REPLAY_DEAD_EVENTS")
    assert record["resource"] == "2 events"
    assert record["metadata"] == {"topics": {ids[0]: "thing.counted", ids[2]: "thing.counted"}}


async def test_dropped_events_are_gone_and_those_to_be_retried_are_not(
    service: httpx.AsyncClient, settings: Settings, applied: asyncio.Queue[int]
) -> None:
    ids, alive = store(settings, 2), store(settings, 1, is_dead=False)
    body = {"ids": [ids[1], *alive]}
    done = await service.post(f"{PATH}/drop", json=body, headers=ADMIN)
    again = await service.post(f"{PATH}/drop", json=body, headers=ADMIN)

    assert (done.json(), again.json()) == ({"ids": [ids[1]]}, {"ids": []})
    assert await dead(service) == [ids[0]]
    assert (await service.get(f"{PATH}/undelivered/{alive[0]}", headers=ADMIN)).json()["state"] == "parked"
    dropped = [one["resource"] for one in records(settings) if one["action"] == "DROP_DEAD_EVENTS"]
    assert dropped == [ids[1], "0 events"]
    assert applied.empty()


async def test_only_admins_may_use_them_and_their_limited_tokens_need_the_scope(
    service: httpx.AsyncClient,
) -> None:
    reads = ("", "/unsent?subscriber=keeper", "/undelivered", f"/undelivered/{new_id()}")
    for given in ({"role": "user"}, {"role": "admin", "scope": "read write admin:users"}):
        headers = bearer(token(**given))
        body = {"ids": [new_id()]}
        answers = [
            *[await service.get(PATH + path, headers=headers) for path in reads],
            *[await service.post(PATH + path, json=body, headers=headers) for path in ("/replay", "/drop")],
        ]
        assert [one.status_code for one in answers] == [403] * 6, given
    scoped = bearer(token(role="admin", scope="admin:events"))
    assert (await service.get(PATH, headers=scoped)).status_code == 200


@pytest.mark.parametrize("ids", [[], ["x"], [new_id()] * (IDS_MAX + 1), "all"])
async def test_ids_are_limited(service: httpx.AsyncClient, ids: Any) -> None:
    refused = await service.post(f"{PATH}/drop", json={"ids": ids}, headers=ADMIN)

    assert refused.status_code == 422
