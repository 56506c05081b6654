"""Messages that admins and other services send to one account or to many."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from contracts.events import AccountDeleted
from services.notifications import duties
from services.notifications.app import create_app
from services.notifications.models import NOTIFICATIONS, USED_KEYS
from services.notifications.sending import announcements
from services.notifications.settings import Settings
from shared.clock import now
from shared.data.database import Database
from shared.ids import first_id, new_id
from shared.testing import bearer, internal_token, running, token
from tests.notifications.support import (
    ADMIN,
    ADMIN_ID,
    ANN,
    BEN,
    MOMENT,
    Start,
    account,
    table_of_deliveries,
    tell,
)

SECONDS = 60
PATH = "/notifications/announcements"
MESSAGE = {"user_id": ANN, "title": "Your question", "content": "We raised your quota."}
NEWS = {"audience": "all", "type": "announcement", "title": "News", "content": "The service pauses."}
SOON = timedelta(hours=1)


async def shown_to(client: httpx.AsyncClient, user_id: str) -> list[dict[str, Any]]:
    answer = await client.get("/notifications", headers=bearer(token(user_id)))
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


async def send(client: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await client.post("/notifications", json=body, headers=ADMIN)


async def ended(client: httpx.AsyncClient, announcement_id: str) -> dict[str, Any]:
    """Wait until an announcement has ended, and return it."""
    async with asyncio.timeout(SECONDS):
        while True:
            one = (await client.get(f"{PATH}/{announcement_id}", headers=ADMIN)).json()
            if one["ended"] is not None:
                return dict(one)
            await asyncio.sleep(0.05)


async def announce(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    accepted = await send(client, **{**NEWS, **changes})
    assert accepted.status_code == 202, accepted.text
    return await ended(client, accepted.json()["announcement_id"])


def end_lives(settings: Settings) -> None:
    """Let the lives of all notifications that have an end be over."""
    database = Database(settings.database_url, pool_size=1)
    with database.transaction() as session:
        over = update(NOTIFICATIONS).where(NOTIFICATIONS.c.expires.is_not(None))
        session.connection().execute(over.values(expires=now() - timedelta(seconds=1)))
    database.close()


async def test_message_of_an_admin_reaches_its_account_once(client: httpx.AsyncClient) -> None:
    headers = ADMIN | {"Idempotency-Key": new_id()}
    sent = await client.post("/notifications", json={**MESSAGE, "data": {"ticket": "7"}}, headers=headers)
    again = await client.post("/notifications", json={**MESSAGE, "data": {"ticket": "7"}}, headers=headers)

    assert (sent.status_code, again.status_code) == (202, 202)
    (shown,) = await shown_to(client, ANN)
    assert sent.json() == again.json() == {"notification_id": shown["id"], "announcement_id": None}
    assert (shown["type"], shown["title"], shown["severity"]) == ("message", "Your question", "info")
    assert (shown["data"], shown["expires"]) == ({"ticket": "7"}, None)
    assert await shown_to(client, BEN) == await shown_to(client, ADMIN_ID) == []


async def test_only_admins_and_services_send_messages(client: httpx.AsyncClient) -> None:
    limited = bearer(token(ADMIN_ID, role="admin", scope="notifications:write"))
    for headers in (bearer(token(ANN)), limited):
        assert (await client.post("/notifications", json=MESSAGE, headers=headers)).status_code == 403
        assert (await client.get(PATH, headers=headers)).status_code == 403
    inside = "/internal/notifications"
    assert (await client.post(inside, json=MESSAGE, headers=ADMIN)).status_code == 401
    service = bearer(internal_token("notifications", issuer="orders"))
    accepted = await client.post(inside, json={**MESSAGE, "title": "Yours"}, headers=service)

    assert accepted.status_code == 202, accepted.text
    assert [one["title"] for one in await shown_to(client, ANN)] == ["Yours"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"user_id": new_id()}, "user_id"),
        ({"user_id": "7"}, "user_id"),
        ({"user_id": None}, "user_id"),
        ({"audience": "all"}, "user_id"),
        ({"audience": "nobody"}, "audience"),
        ({"title": " "}, "title"),
        ({"title": "x" * 201}, "title"),
        ({"content": ""}, "content"),
        ({"content": "x" * 2001}, "content"),
        ({"content": "a\x00b"}, "content"),
        ({"severity": "deadly"}, "severity"),
        ({"type": "order.placed"}, "type"),
        ({"channels": []}, "channels"),
        ({"dedupe_key": "two words"}, "dedupe_key"),
        ({"expires": "2026-01-31T12:00:00Z"}, "expires"),
        ({"data": {f"name{each}": "" for each in range(17)}}, "data"),
        ({"data": {"Name": "value"}}, "data"),
        ({"data": {"name": "x" * 201}}, "data"),
    ],
)
async def test_malformed_message_is_refused_with_422(
    client: httpx.AsyncClient, changes: dict[str, Any], field: str
) -> None:
    refused = await client.post("/notifications", json={**MESSAGE, **changes}, headers=ADMIN)

    assert refused.status_code == 422
    assert {one["field"].split(".")[0] for one in refused.json()["errors"]} == {field}


async def test_person_gets_one_message_with_a_key_even_after_deleting_it(client: httpx.AsyncClient) -> None:
    first = await send(client, **MESSAGE, dedupe_key="quota")
    deleted = await client.delete(
        f"/notifications/{first.json()['notification_id']}", headers=bearer(token(ANN))
    )
    again = await send(client, **MESSAGE, dedupe_key="quota")
    other = await send(client, **{**MESSAGE, "user_id": BEN}, dedupe_key="quota")

    assert (first.status_code, deleted.status_code, other.status_code) == (202, 204, 202)
    assert (again.status_code, again.json()["code"]) == (409, "duplicate")
    assert await shown_to(client, ANN) == []
    assert len(await shown_to(client, BEN)) == 1
    await tell(client, AccountDeleted(account_id=ANN, deleted=MOMENT))
    assert (await send(client, **MESSAGE, dedupe_key="quota")).status_code == 202, "its key is forgotten"


async def test_announcement_reaches_all_active_accounts_in_pages(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcements, "PAGE_PEOPLE", 2)
    people, away = [new_id() for _ in range(5)], new_id()
    await tell(client, *(account(one) for one in people), account(away, status="suspended"))
    await send(client, **{**MESSAGE, "user_id": ANN}, dedupe_key="news")
    await tell(client, account(ANN))
    done = await announce(client, dedupe_key="news")
    twice = await announce(client, dedupe_key="news")

    assert (done["state"], done["told"], done["skipped"]) == ("done", 5, 1)
    assert (twice["state"], twice["told"], twice["skipped"]) == ("done", 0, 6)
    for one in people:
        (shown,) = await shown_to(client, one)
        assert (shown["type"], shown["title"]) == ("announcement", "News")
    assert await shown_to(client, away) == []
    listed = (await client.get(PATH, headers=ADMIN)).json()
    assert [one["id"] for one in listed] == [twice["id"], done["id"]]
    assert (listed[0]["by"], listed[0]["audience"]) == (ADMIN_ID, "all")
    assert (await client.get(f"{PATH}/{new_id()}", headers=ADMIN)).status_code == 404


async def test_announcement_to_admins_reaches_only_admins(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcements, "PAGE_PEOPLE", 1)
    first, second, user = new_id(), new_id(), new_id()
    await tell(client, account(first, role="admin"), account(second, role="admin"), account(user))
    done = await announce(client, audience="admins")

    assert done["told"] == 2
    assert [len(await shown_to(client, one)) for one in (first, second, user)] == [1, 1, 0]


async def test_channels_narrow_what_a_person_has_switched_on(start: Start, database_url: str) -> None:
    async with start(sms_transport="none") as client:
        await tell(client, account(ANN, email="ann@example.com", email_verified=True))
        mailed = await send(client, **MESSAGE, channels=["email"])
        shown = await send(client, **MESSAGE, channels=["in_app"])
        off = {"choices": [{"type": "message", "channel": "email", "on": False}]}
        await client.put("/notifications/preferences", json=off, headers=bearer(token(ANN)))
        unwanted = await send(client, **MESSAGE, channels=["email", "sms"])

        assert [one.status_code for one in (mailed, shown, unwanted)] == [202, 202, 202]
        assert mailed.json() == unwanted.json() == {"notification_id": None, "announcement_id": None}
        assert [one["id"] for one in await shown_to(client, ANN)] == [shown.json()["notification_id"]]
        assert len(table_of_deliveries(database_url)) == 1


async def test_expired_message_is_neither_shown_nor_counted_and_then_deleted(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    mine = bearer(token(ANN))
    sent = await send(client, **MESSAGE, expires=(now() + SOON).isoformat())
    kept = await send(client, **MESSAGE)
    one = f"/notifications/{sent.json()['notification_id']}"
    assert (await client.get(one, headers=mine)).status_code == 200
    end_lives(settings)

    assert [each["id"] for each in await shown_to(client, ANN)] == [kept.json()["notification_id"]]
    older = (await client.get("/classic/notifications", headers=mine)).json()["notifications"]
    assert [each["id"] for each in older] == [kept.json()["notification_id"]]
    assert (await client.get("/notifications/unread/count", headers=mine)).json()["count"] == 1
    for method, path in (("GET", one), ("PUT", f"{one}/read"), ("DELETE", one)):
        assert (await client.request(method, path, headers=mine)).status_code == 404
    database = Database(settings.database_url, pool_size=1)
    assert duties.delete_expired_notifications(database) <= 1, "the duty of the service may have been faster"
    with database.transaction(write=False) as session:
        left = session.connection().execute(NOTIFICATIONS.select()).all()
    database.close()
    assert [row.id for row in left] == [kept.json()["notification_id"]]


async def test_mail_of_an_expired_message_is_not_sent(start: Start, database_url: str) -> None:
    async with start(smtp_url="smtp://127.0.0.1:9") as client:  # the discard port: the mail has to wait
        await tell(client, account(ANN, email="ann@example.com", email_verified=True))
        expires = now() + SOON
        await send(client, **MESSAGE, expires=expires.isoformat())

        (mail,) = table_of_deliveries(database_url)
        assert mail["expires"] == expires


async def test_announcement_can_be_cancelled_and_ends_when_it_expires(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tell(client, account(ANN))
    done = await announce(client)
    cancelled = await client.post(f"{PATH}/{done['id']}/cancel", headers=ADMIN)
    assert (cancelled.status_code, cancelled.json()) == (202, done), "one that has ended is not changed"
    monkeypatch.setattr(announcements, "now", lambda: now() + 2 * SOON)
    late = await announce(client, expires=(now() + SOON).isoformat())

    assert (late["state"], late["told"]) == ("done", 0)
    assert len(await shown_to(client, ANN)) == 1


async def test_announcement_goes_on_after_a_stop_without_telling_anybody_twice(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step after which the service stops is committed, and the next one is rolled back."""
    monkeypatch.setattr(announcements, "PAGE_PEOPLE", 2)
    pages, people = [0], [new_id() for _ in range(6)]

    def failing(step: str) -> None:
        if step == "announcement: telling":
            pages[0] += 1
            if pages[0] == 2:
                raise RuntimeError("the process ends here")

    monkeypatch.setattr(announcements, "reached", failing)
    async with running(create_app, settings) as client:
        await tell(client, *(account(one) for one in people))
        done = await announce(client)
        assert (done["state"], done["told"], pages[0]) == ("done", 6, 4)
        assert [len(await shown_to(client, one)) for one in people] == [1] * 6


async def test_announcement_of_a_deleted_admin_ends(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless = announcements.People(new_id(), [])
    monkeypatch.setattr(announcements, "page_of", lambda *_: endless)
    accepted = await send(client, **NEWS)
    await tell(client, AccountDeleted(account_id=ADMIN_ID, deleted=MOMENT))

    assert (await ended(client, accepted.json()["announcement_id"]))["state"] == "cancelled"


def test_old_keys_are_deleted(settings: Settings) -> None:
    database = Database(settings.database_url, pool_size=1)
    rows = [
        {"id": first_id(now(), -timedelta(days=days)), "user_id": ANN, "dedupe_key": f"{days}"}
        for days in (91, 89)
    ]
    with database.transaction() as session:
        session.connection().execute(USED_KEYS.insert(), rows)
    assert duties.delete_old_keys(database, timedelta(days=90)) == 1
    with database.transaction(write=False) as session:
        left = [row.dedupe_key for row in session.connection().execute(USED_KEYS.select())]
    database.close()

    assert left == ["89"]
