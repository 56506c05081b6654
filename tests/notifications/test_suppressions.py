"""Addresses to which nothing is sent, and the list that admins have of them."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from services.notifications import breaker
from services.notifications.kinds import Channel
from services.notifications.models import EVENTS, SUPPRESSIONS
from services.notifications.reasons import Reason
from services.notifications.settings import Settings
from services.notifications.suppressions import Suppressions
from shared.clock import now
from shared.data.database import Database
from shared.data.migrate import upgrade
from tests.notifications.smtp import OK, Server
from tests.notifications.support import ADMIN, ADMIN_ID, KEY_SECRET, Start, table_of_deliveries, tell
from tests.notifications.test_mails import SECONDS, address, asked, ended
from tests.told import records

PATH = "/notifications/suppressions"
MIGRATIONS = Path("services/notifications/migrations")


@pytest.fixture
async def client(start: Start) -> AsyncIterator[httpx.AsyncClient]:
    async with start() as client:
        yield client


async def listed(client: httpx.AsyncClient, **query: str) -> list[dict[str, Any]]:
    answer = await client.get(PATH, params=query, headers=ADMIN)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


@pytest.mark.parametrize(
    ("said", "is_suppressed"),
    [
        ("550 5.1.1 user unknown", True),
        ("550 no such user", True),
        ("554 5.1.6 the recipient has moved", True),
        ("550 5.2.1 the mailbox is disabled", True),
        ("556 5.1.10 the domain accepts no mail", True),
        ("550 5.4.1 the domain has no such recipient", True),
        ("550 5.4.4 the domain does not exist", True),
        ("554 5.4.6 the route has a loop", False),
        ("552 5.2.2 the mailbox is full", False),
        ("550 5.7.1 your server is on a list", False),
        ("554 we refuse this", False),
    ],
)
async def test_only_a_refusal_of_the_recipient_itself_suppresses_the_address(
    client: httpx.AsyncClient, server: Server, said: str, is_suppressed: bool
) -> None:
    to = address()
    server.at_recipient = lambda _: said
    first, second = asked(to), asked(to)
    await tell(client, first)
    failed = await ended(client, first.mail_id)
    server.at_recipient = lambda _: OK
    await tell(client, second)

    assert failed["state"] == "failed"
    assert (await ended(client, second.mail_id))["state"] == ("suppressed" if is_suppressed else "sent")
    assert [(one["reason"], one["by"]) for one in await listed(client)] == [("bounce", None)] * is_suppressed


@pytest.mark.parametrize("said", ["550 5.1.8 the domain of the sender is unknown", "553 5.1.7 a bad sender"])
async def test_refusal_of_the_sender_at_the_recipient_costs_no_attempt_and_suppresses_nobody(
    client: httpx.AsyncClient, server: Server, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setattr(breaker, "OPEN_SECONDS_FIRST", 0.01)
    monkeypatch.setattr(breaker, "OPEN_SECONDS_MAX", 0.01)
    replies = iter([said])
    server.at_recipient = lambda _: next(replies, OK)
    mail = asked(address())
    await tell(client, mail)
    shown = await ended(client, mail.mail_id)

    assert (shown["state"], shown["made"][0]["code"]) == ("sent", "sender_refused")
    assert await listed(client) == []


async def test_admin_adds_lists_and_removes_a_suppression(
    client: httpx.AsyncClient, settings: Settings, server: Server
) -> None:
    to = address()
    added = await client.post(PATH, json={"email": to.upper(), "days": 3}, headers=ADMIN)
    again = await client.post(PATH, json={"email": to}, headers=ADMIN)
    await client.post(PATH, json={"email": address()}, headers=ADMIN)
    shown = again.json()
    held, free = asked(to, "password_changed", link=None, expires=None), asked(to)
    await tell(client, held)

    assert (added.status_code, again.status_code) == (201, 201)
    assert added.json()["until"] is not None
    assert (shown["id"], shown["reason"], shown["by"], shown["until"]) == (
        added.json()["id"],
        "admin",
        ADMIN_ID,
        None,
    )
    found = await ended(client, held.mail_id)
    assert (found["state"], found["code"], found["attempts"]) == ("suppressed", "admin", 0)
    assert len(await listed(client, reason="admin", channel="email")) == 2
    (newest,) = await listed(client, limit="1")
    assert newest["id"] != shown["id"]
    assert await listed(client, reason="bounce") == []

    removed = [await client.delete(f"{PATH}/{shown['id']}", headers=ADMIN) for _ in range(2)]
    await tell(client, free)
    assert [one.status_code for one in removed] == [204, 404]
    assert (await ended(client, free.mail_id))["state"] == "sent"
    assert len(server.to(to)) == 1
    changes = [one for one in records(settings.database_url, EVENTS) if "SUPPRESSION" in one["action"]]
    assert [
        (one["action"], one["resource"], one["outcome"]) for one in changes if one["resource"] == shown["id"]
    ] == [
        ("ADD_SUPPRESSION", shown["id"], "success"),
        ("ADD_SUPPRESSION", shown["id"], "success"),
        ("REMOVE_SUPPRESSION", shown["id"], "success"),
        ("REMOVE_SUPPRESSION", shown["id"], "refused"),
    ]
    assert changes[0]["metadata"] == {"channel": "email", "reason": "admin"}
    assert to not in str(changes).casefold()
    bad = await client.post(PATH, json={"email": "a\r\nb@example.com"}, headers=ADMIN)
    assert (bad.status_code, bad.json()["errors"][0]["field"]) == (422, "email")


async def test_complaint_stops_all_mails_but_those_about_the_security_of_the_account(
    client: httpx.AsyncClient, settings: Settings, server: Server
) -> None:
    to = address()
    suppress(settings, to, Reason.COMPLAINT)
    mails = [asked(to), asked(to, "password_changed", link=None, expires=None), asked(to, "invitation")]
    await tell(client, *mails)

    shown = [await ended(client, one.mail_id) for one in mails]
    assert [(one["state"], one["code"]) for one in shown] == [
        ("sent", None),
        ("sent", None),
        ("suppressed", "complaint"),
    ]
    assert len(server.to(to)) == 2
    assert [one["until"] for one in await listed(client)] == [None]


async def test_mail_that_was_queued_before_its_address_was_suppressed_is_not_sent(
    start: Start, settings: Settings, server: Server
) -> None:
    to = address()
    async with start() as client:
        server.at_content = lambda _: "451 later"
        event = asked(to)
        await tell(client, event)
        async with asyncio.timeout(SECONDS):
            while not table_of_deliveries(settings.database_url)[0]["attempts"]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        suppress(settings, to, Reason.BOUNCE)
        shown = await ended(client, event.mail_id)

    assert (shown["state"], shown["code"]) == ("suppressed", "bounce")
    assert not server.to(to)
    assert table_of_deliveries(settings.database_url)[0]["sealed"] is None


async def test_failed_mail_to_a_suppressed_address_is_not_repeated_until_that_is_lifted(
    client: httpx.AsyncClient, server: Server
) -> None:
    to = address()
    server.at_recipient = lambda _: "550 5.1.1 user unknown"
    event = asked(to)
    await tell(client, event)
    await ended(client, event.mail_id)
    server.at_recipient = lambda _: OK
    path = f"/notifications/deliveries/{event.mail_id}/retry"
    refused = await client.post(path, headers=ADMIN)
    await client.post(f"{PATH}/lift", json={"email": to}, headers=ADMIN)
    allowed = await client.post(path, headers=ADMIN)

    assert (refused.status_code, refused.json()["code"], refused.json()["reason"]) == (
        409,
        "suppressed",
        "bounce",
    )
    assert allowed.status_code == 200
    assert (await ended(client, event.mail_id))["state"] == "sent"


async def test_suppression_is_recognised_while_the_key_is_changed(start: Start, settings: Settings) -> None:
    to = address()
    suppress(settings, to, Reason.COMPLAINT)
    async with start(key_secret="c1d2e3f405162738495a6b7c8d9eaf10", key_secret_previous=KEY_SECRET) as client:
        event = asked(to, "invitation")
        await tell(client, event)
        assert (await ended(client, event.mail_id))["code"] == "complaint"
        lifted = await client.post(f"{PATH}/lift", json={"email": to}, headers=ADMIN)

    assert lifted.json() == {"was_suppressed": True}


def test_migration_keeps_the_suppressions_that_there_were(database_url: str, tmp_path: Path) -> None:
    before = tmp_path / "before"
    shutil.copytree(MIGRATIONS, before, ignore=shutil.ignore_patterns("000[6-9]*", "00[1-9]*", "__pycache__"))
    upgrade(database_url, before)
    database = Database(database_url, pool_size=1)
    adding = text(
        "INSERT INTO suppressions (to_hash, reason, created, until) VALUES (:h, 'bounce', :at, :at)"
    )
    at = now()
    with database.transaction() as session:
        stored = at.isoformat(timespec="microseconds") if database.is_sqlite else at
        session.connection().execute(adding, [{"h": f"{n:064}", "at": stored} for n in range(1_001)])
    upgrade(database_url, MIGRATIONS)
    with database.transaction(write=False) as session:
        rows = [dict(row) for row in session.connection().execute(SUPPRESSIONS.select()).mappings()]
    database.close()

    assert {row["to_hash"] for row in rows} == {f"{n:064}" for n in range(1_001)}
    assert len({row["id"] for row in rows}) == 1_001
    assert {(row["channel"], row["reason"], row["created"], row["until"]) for row in rows} == {
        ("email", "bounce", at, at)
    }


def suppress(settings: Settings, to: str, reason: Reason) -> None:
    """Suppress an address as the service would, with the key of the services that `start` starts."""
    suppressions = Suppressions(
        settings.model_copy(update={"key_secret": type(settings.key_secret)(KEY_SECRET)})
    )
    database = Database(settings.database_url, pool_size=1)
    with database.transaction() as session:
        suppressions.add(session, Channel.EMAIL, to, reason)
    database.close()
