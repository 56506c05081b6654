"""Attacks by a service that may send events: it cannot write to the log, but it chooses what it records."""

import json
import random
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, select

from services.audit import export as export_module
from services.audit.models import EVENTS
from services.audit.settings import Settings
from shared.clock import now
from shared.events.spine import SEEN_KEPT
from shared.ids import first_id, new_id
from tests.audit.attacks import by_service, verdict
from tests.audit.support import BOB, Log, entry
from tests.audit.test_events import ADMIN, logs, recorded, send

MINUTE = timedelta(minutes=1)
LAST_ID = "ffffffff-ffff-7fff-bfff-ffffffffffff"


@pytest.mark.parametrize("event_id", ["zzzz", "é", "a b", "0198C0DE-4B20-7C31-9000-A7D8E9F01234", LAST_ID])
async def test_list_continues_after_a_record_whose_event_has_an_odd_id(
    audit: httpx.AsyncClient, event_id: str
) -> None:
    """The cursor of the next page was refused, so nobody could list the records before it."""
    await send(audit, recorded(), recorded() | {"id": event_id}, recorded() | {"id": event_id})
    await send(audit, recorded())
    seen, url = list[int](), "/audit/logs?limit=1"
    while url:
        response = await audit.get(url, headers=ADMIN)
        assert response.status_code == 200, response.text
        seen += [one["seq"] for one in response.json()]
        link = response.links.get("next")
        url = f"/audit/logs{link['url']}" if link else ""

    assert seen == [2, 1, 0], "newest first, and the event once"


async def test_record_with_the_id_of_another_hides_none_from_a_list(
    audit: httpx.AsyncClient, settings: Settings
) -> None:
    """Audit forgets the ids of events after two weeks, so one can come again.

    A list continues after an id, so a second record with the same id would be left out.
    """
    other = first_id(now() - SEEN_KEPT)
    same = f"{other[:-4]}89ab"
    await send(audit, recorded(BOB) | {"id": same})
    with Log(settings) as log, log.database.transaction() as session:
        session.connection().execute(delete(EVENTS.inbox))
    await send(audit, recorded() | {"id": same}, recorded(BOB) | {"id": other})
    seen, url = list[tuple[int, str]](), "/audit/logs?limit=1"
    while url:
        response = await audit.get(url, headers=ADMIN)
        seen += [(one["seq"], one["id"]) for one in response.json()]
        link = response.links.get("next")
        url = f"/audit/logs{link['url']}" if link else ""

    (first, second, third) = sorted(seen)
    assert (first, second[0], third) == ((0, same), 1, (2, other))
    assert second[1][:19] == same[:19], "in its place, with an id of its own"


async def test_record_with_an_id_older_than_itself_is_in_lists_of_its_time(audit: httpx.AsyncClient) -> None:
    """A list by time reads the ids of that time."""
    for age in (timedelta(0), timedelta(days=2)):
        moment = now() - age
        event = recorded(timestamp=moment.isoformat()) | {"id": first_id(moment - timedelta(days=5))}
        await send(audit, event)
        begin, end = ((moment + side).strftime("%Y-%m-%dT%H:%M:%SZ") for side in (-MINUTE, MINUTE))

        assert len(await logs(audit, f"?from={begin}&to={end}")) == 1


@pytest.mark.parametrize(
    "field",
    [
        {"status": 2**31},
        {"status": -(2**70)},
        {"timestamp": "0001-01-01T00:00:00+14:00"},
        {"timestamp": "9999-12-31T23:00:00-14:00"},
    ],
)
async def test_record_that_a_database_cannot_store_is_dead_at_once(
    audit: httpx.AsyncClient, settings: Settings, field: dict[str, Any]
) -> None:
    """Retries would take a quarter of an hour; until then, all records of its actor would wait."""
    await send(audit, recorded(**field), recorded())

    assert len(await logs(audit)) == 1
    with Log(settings) as log, log.database.transaction(write=False) as session:
        (parked,) = session.connection().execute(select(EVENTS.parked)).all()
    assert parked.dead


async def test_text_that_no_index_holds_is_shortened(audit: httpx.AsyncClient, settings: Settings) -> None:
    """PostgreSQL refuses it."""
    long = "".join(random.choices("abcdefghijklmnop\U0001f600\U0001f601\U0001f602", k=9_000))
    await send(
        audit,
        recorded(action=long, resource=long),
        recorded() | {"data": recorded()["data"] | {"user_id": long}},
        recorded(),
    )

    shown = await logs(audit)
    assert len(shown) == 3
    assert (shown[2]["action"], shown[2]["resource"], shown[1]["user_id"]) == (long[:600],) * 3
    with Log(settings) as log:
        assert by_service(log) == "ok"


@pytest.mark.parametrize("field", ["user_id", "ip", "user_agent", "request_id", "trace_id", "resource"])
def test_text_that_postgresql_cannot_store_is_changed(log: Log, field: str) -> None:
    log.add(entry(**{field: "a\x00b"}), entry(BOB))
    log.sign()
    (line, _) = (json.loads(one) for one in log.lines() if b'"type":"record"' in one)

    assert line[field] == "a\ufffdb"
    assert by_service(log) == "ok"


def test_part_of_the_log_has_all_records_with_one_id(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next chunk begins after the last id, and audit forgets after two weeks which ids it has seen."""
    monkeypatch.setattr(export_module, "CHUNK_RECORDS", 2)
    same = new_id()
    log.add(entry(BOB), *(entry(BOB, id=same) for _ in range(3)), entry(BOB))
    log.sign()
    lines = log.lines(log.partial(BOB))

    assert sorted(one["seq"] for one in map(json.loads, lines) if one["type"] == "record") == [0, 1, 2, 3, 4]
    assert verdict(log.check(lines)) == "ok"
