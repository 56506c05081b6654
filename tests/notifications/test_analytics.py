"""Events for GA4: with consent, without personal data, and whatever Google does."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from sqlalchemy import select

from contracts.events import AccountDeleted
from services.notifications.analytics import events, sender
from services.notifications.app import create_app
from services.notifications.models import PREFERENCES, WORK
from services.notifications.settings import Settings
from shared.clock import now
from shared.data.database import Database
from shared.peers import outbound
from shared.testing import bearer, running, token
from shared.work import changes
from tests.notifications import receiver
from tests.notifications.receiver import Receiver, Reply
from tests.notifications.support import account, person, placed, tell

SECONDS = 60
EVENT = {"name": "search", "params": {"search_term": "laptop", "results": 12, "is_new": True}}

Start = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def google() -> Iterator[Receiver]:
    with receiver.receiving() as made:
        yield made


@pytest.fixture
def start(
    make_settings: Callable[..., Any], database_url: str, google: Receiver, monkeypatch: pytest.MonkeyPatch
) -> Start:
    """Starts services that send to a stand-in for Google, and try again at once."""
    monkeypatch.setattr(sender, "RETRY_FIRST", timedelta(0))
    monkeypatch.setattr(changes, "LOOK_SECONDS_LISTENING", 0.05)

    def starting(**values: Any) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        usual = {
            "database_url": database_url,
            "ga4_enabled": True,
            "ga4_measurement_id": "G-ABC1234",
            "ga4_api_secret": "the-secret",
            "ga4_url": f"http://127.0.0.1:{google.server_port}",
        }
        return running(create_app, make_settings(Settings, **{**usual, **values}))

    return starting


async def agree(client: httpx.AsyncClient, who: dict[str, str], *, is_on: bool = True) -> dict[str, Any]:
    response = await client.put("/analytics/consent", json={"is_on": is_on}, headers=who)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def measure(client: httpx.AsyncClient, who: dict[str, str], **changes: Any) -> Any:
    response = await client.post("/analytics/events", json={**EVENT, **changes}, headers=who)
    assert response.status_code == 202, response.text
    return response.json()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def rows(database_url: str, *, of_preferences: bool = False) -> list[Any]:
    database = Database(database_url, pool_size=1)
    wanted = (
        select(PREFERENCES.c.choices)
        if of_preferences
        else select(WORK.work.c.body).where(WORK.work.c.queue == events.QUEUE)
    )
    try:
        with database.transaction(write=False) as session:
            return list(session.connection().execute(wanted).scalars())
    finally:
        database.close()


async def test_event_of_a_person_who_agreed_reaches_google_under_a_random_id_alone(
    start: Start, google: Receiver, database_url: str
) -> None:
    me, who = person()
    async with start() as client:
        before = (await client.get("/analytics/consent", headers=who)).json()
        refused = await measure(client, who)
        agreed = await agree(client, who)
        accepted = await measure(client, who)
        order = placed(me, updated=now())
        await tell(client, account(me))
        await tell(client, order)
        await until(lambda: len(google.calls) == 2 and not rows(database_url))
    contents = {one.content["events"][0]["name"]: one for one in google.calls}
    search, purchase = contents["search"], contents["purchase"]
    query = parse_qs(urlsplit(search.path).query)

    assert (before, agreed) == (
        {"is_on": False, "is_measured": True},
        {"is_on": True, "is_measured": True},
    )
    assert (refused["is_queued"], accepted["is_queued"]) == (False, True)
    assert urlsplit(search.path).path == "/mp/collect"
    assert query == {"measurement_id": ["G-ABC1234"], "api_secret": ["the-secret"]}
    assert search.content["events"] == [EVENT]
    assert purchase.content["events"][0]["params"] == {
        "transaction_id": order.order_id,
        "value": 999.99,
        "currency": "USD",
    }
    assert search.content["client_id"] == purchase.content["client_id"]
    for one in google.calls:
        assert set(one.content) == {"client_id", "timestamp_micros", "events"}
        assert me.encode() not in one.body
        assert b"@" not in one.body


async def test_without_configuration_or_consent_nothing_is_queued(
    start: Start, google: Receiver, database_url: str
) -> None:
    me, who = person()
    async with start(ga4_enabled=False) as client:
        consent = await agree(client, who)
        queued = await measure(client, who)
        await tell(client, placed(me))
    async with start() as client:
        await agree(client, who, is_on=False)
        again = await measure(client, who)
        anonymous = await client.post("/analytics/events", json=EVENT)

    assert consent == {"is_on": True, "is_measured": False}
    assert (queued["is_queued"], again["is_queued"], anonymous.status_code) == (False, False, 401)
    assert rows(database_url) == []
    assert google.calls == []


def test_times_and_names_with_colons_are_no_addresses() -> None:
    assert events.fault_of("search", {"term": "std::map :: at 10:30:00, 100% of a:b"}) is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "session_start"}, "name"),
        ({"name": "ga_mine"}, "name"),
        ({"name": "9lives"}, "name"),
        ({"params": {"mail": "to ann@example.com"}}, "params.mail"),
        ({"params": {"from": "192.0.2.17"}}, "params.from"),
        ({"params": {"from": "2001:db8:0:0:0:0:0:1"}}, "params.from"),
        ({"params": {"from": "[fe80::1%eth0]:80"}}, "params.from"),
        ({"params": {"from": "ip=::1."}}, "params.from"),
        ({"params": {"page": "/?mail=a%40b.de"}}, "params.page"),
        ({"params": {"user_id": "x"}}, "params.user_id"),
        ({"params": {"x": "a" * 101}}, "params.x"),
        ({"params": {f"p{one}": 1 for one in range(26)}}, "params"),
    ],
)
async def test_event_that_google_would_drop_or_that_names_somebody_is_refused(
    client: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    response = await client.post("/analytics/events", json={**EVENT, **body}, headers=person()[1])

    assert response.status_code == 422
    assert response.json()["errors"][0]["field"].startswith(field)


async def test_google_that_fails_or_hangs_is_tried_again_and_then_left_alone(
    start: Start, google: Receiver, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound, "OPEN_SECONDS_FIRST", 0.3)
    replies = [Reply(429), Reply(500), Reply(hangs=True), Reply(503), Reply(500), Reply(500)]
    resting = sender.SENT.labels("resting")
    rested = resting._value.get()
    google.reply = lambda _path, number: replies[number] if number < len(replies) else Reply(204)
    _, who = person()
    async with start(analytics_timeout_seconds=0.3) as client:
        await agree(client, who)
        await measure(client, who)
        await until(lambda: len(google.calls) > len(replies) and not rows(database_url))
        google.closing.set()
    statuses = [one.reply.status for one in google.calls if not one.reply.hangs]

    assert statuses == [429, 500, 503, 500, 500, 204]
    assert resting._value.get() > rested, "after five failures in a row it is left alone for a while"
    assert len({one.body for one in google.calls}) == 1


async def test_event_that_google_refuses_or_that_is_too_old_ends(
    start: Start, google: Receiver, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    google.reply = lambda _path, _number: Reply(403)
    _, who = person()
    async with start() as client:
        await agree(client, who)
        await measure(client, who)
        await until(lambda: len(google.calls) == 1 and not rows(database_url))
        monkeypatch.setattr(sender, "EVENT_AGE_MAX", timedelta(0))
        await measure(client, who)
        await until(lambda: not rows(database_url))

    assert len(google.calls) == 1


async def test_withdrawn_consent_and_a_deleted_account_stop_what_is_waiting(
    start: Start, google: Receiver, database_url: str
) -> None:
    later = Reply(503, {"Retry-After": "1"})
    google.reply = lambda _path, number: later if number < 2 else Reply(204)
    (me, who), (gone, theirs) = person(), person()
    async with start() as client:
        for each in (who, theirs):
            await agree(client, each)
            await measure(client, each)
        await until(lambda: len(google.calls) == 2)
        before = rows(database_url, of_preferences=True)
        await agree(client, who, is_on=False)
        await tell(client, AccountDeleted(account_id=gone, deleted=now()))
        await until(lambda: not rows(database_url))
        again = await agree(client, who)
    first = [json.loads(one)["analytics"]["client_id"] for one in before]
    second = [json.loads(one)["analytics"]["client_id"] for one in rows(database_url, of_preferences=True)]

    assert again["is_on"] is True
    assert len(google.calls) == 2
    assert len(set(first)) == 2
    assert len(second) == 1, "that of the deleted account is gone"
    assert not set(first) & set(second), "a new consent has a new id"
    assert me not in first


async def test_queue_is_bounded_and_an_order_does_not_fail_because_of_it(
    start: Start, google: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "WAITING_MAX", 0)
    google.reply = lambda _path, _number: Reply(503, {"Retry-After": "3600"})
    me, who = person()
    async with start() as client:
        await agree(client, who)
        await measure(client, who)
        full = await client.post("/analytics/events", json=EVENT, headers=who)
        await tell(client, placed(me, updated=now()))
        told = (await client.get("/notifications", headers=who)).json()

    assert full.status_code == 503
    assert [one["type"] for one in told] == ["order.placed"]


async def test_new_account_that_agrees_signs_up_once(
    start: Start, google: Receiver, database_url: str
) -> None:
    (me, who), (early, theirs), (old, older) = person(), person(), person()
    joined = now() - timedelta(hours=1)
    async with start() as client:
        await tell(client, account(me, created=joined))
        await tell(client, account(old, created=now() - timedelta(hours=73)))
        assert rows(database_url) == [], "nobody has agreed"
        await agree(client, theirs)  # its event arrives afterwards
        for each in (who, older):
            await agree(client, each)
        await tell(client, account(early, created=joined))
        await until(lambda: len(google.calls) == 2 and not rows(database_url))
        await agree(client, who, is_on=False)
        await agree(client, who)
        await tell(client, account(me, created=joined))
        await measure(client, who)
        await until(lambda: not rows(database_url))
    names = [one.content["events"][0]["name"] for one in google.calls]
    signed_up = [one.content for one in google.calls if one.content["events"][0]["name"] == "sign_up"]

    assert names == ["sign_up", "sign_up", "search"]
    assert {one["timestamp_micros"] for one in signed_up} == {int(joined.timestamp() * 1_000_000)}


async def test_debug_mode_only_asks_google_what_is_wrong(
    start: Start, google: Receiver, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[dict[str, Any]] = []
    monkeypatch.setattr(sender.log, "info", lambda event, **values: logged.append({"event": event, **values}))
    fault = {"fieldPath": "events", "description": "is reserved", "validationCode": "NAME_RESERVED"}
    bodies = [json.dumps({"validationMessages": [fault]}).encode(), b'{"validationMessages": []}', b"<html>"]
    google.reply = lambda _path, number: Reply(200, body=bodies[number])
    _, who = person()
    async with start(ga4_debug=True) as client:
        await agree(client, who)
        for _ in bodies:
            await measure(client, who)
            await until(lambda: not rows(database_url))

    assert {urlsplit(one.path).path for one in google.calls} == {"/debug/mp/collect"}
    assert logged == [
        {"event": "analytics_event_checked", "event_name": "search", "messages": messages}
        for messages in (
            ["NAME_RESERVED events: is reserved"],
            [],
            ["the response is not what the debug endpoint sends"],
        )
    ]


async def test_limited_token_needs_its_scope_and_cannot_agree(client: httpx.AsyncClient) -> None:
    me, _ = person()
    reading = bearer(token(me, scope="notifications:read"))

    assert (await client.post("/analytics/events", json=EVENT, headers=reading)).status_code == 403
    assert (await client.put("/analytics/consent", json={"is_on": True}, headers=reading)).status_code == 403
