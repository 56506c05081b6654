"""Mails from the event that asks for them to a real SMTP server."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlmodel import Session

from contracts.events import AccountDeleted, MailRequested
from contracts.links import seal_link
from services.notifications import breaker, courier
from services.notifications.models import EVENTS
from services.notifications.settings import Settings
from shared.clock import now
from shared.ids import new_id
from shared.testing import TEST_INTERNAL_SECRET, bearer, token
from tests.notifications.smtp import OK, Server
from tests.notifications.support import (
    ADMIN,
    ADMIN_ID,
    KEY_SECRET,
    Start,
    account,
    person,
    placed,
    stepped,
    table_of_deliveries,
    tell,
)
from tests.support import eventually
from tests.told import events

SECONDS = 60
LINK = "https://api.example.com/auth/reset?token=abc-DEF_123"


@pytest.fixture
async def client(start: Start) -> AsyncIterator[httpx.AsyncClient]:
    async with start() as client:
        yield client


def address() -> str:
    return f"{new_id()[-12:]}@example.com"


def asked(to: str, template: str = "reset_password", **changes: Any) -> MailRequested:
    mail_id = new_id()
    link = seal_link([TEST_INTERNAL_SECRET], mail_id, LINK)
    values = {"email": to, "origin": "https://api.example.com", "factor": "a passkey"}
    event = MailRequested(
        mail_id=mail_id,
        template=template,
        email=to,
        account_id=None,
        link=link,
        expires=now() + timedelta(minutes=30),
        values=values,
        created=now(),
    )
    return event.model_copy(update=changes)


async def ended(client: httpx.AsyncClient, mail_id: str) -> dict[str, Any]:
    """Wait until a delivery has ended, and return it."""
    async with asyncio.timeout(SECONDS):
        while True:
            shown = await client.get(f"/notifications/deliveries/{mail_id}", headers=ADMIN)
            assert shown.status_code == 200, shown.text
            found: dict[str, Any] = shown.json()
            if found["finished"] is not None:
                return found
            await asyncio.sleep(0.02)


async def test_mail_that_auth_asks_for_arrives_once_with_its_link(
    client: httpx.AsyncClient, server: Server
) -> None:
    to = address()
    event = asked(to)
    await tell(client, event)
    await tell(client, event)  # as after a restore of the sender's database, with a new event id
    shown = await ended(client, event.mail_id)
    (mail,) = server.to(to)

    assert (shown["state"], shown["attempts"], shown["template"]) == ("sent", 1, "reset_password")
    assert [(one["number"], one["outcome"]) for one in shown["made"]] == [(1, "sent")]
    assert mail["Message-ID"] == f"<{event.mail_id}@example.com>"
    assert (mail["Subject"], mail["From"]) == ("Choose a new password", "Gatehouse <no-reply@example.com>")
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None
    assert html is not None
    assert LINK in text.get_content().splitlines(), "people copy it from a line of its own"
    assert f'href="{LINK}"' in html.get_content()


async def test_content_and_address_are_sealed_until_sent_and_then_deleted(
    start: Start, server: Server, database_url: str
) -> None:
    to, waiting = address(), []

    def look(_: object) -> str:
        waiting.append(str(table_of_deliveries(database_url)))
        return OK

    server.at_content = look
    async with start() as client:
        event = asked(to)
        await tell(client, event)
        await ended(client, event.mail_id)
    (during,), after = waiting, table_of_deliveries(database_url)

    assert event.mail_id in during
    for secret in (to, LINK, "token"):
        assert secret not in during
    assert [row["sealed"] for row in after] == [None]


@pytest.mark.usefixtures("listener")
async def test_refused_address_fails_once_and_is_suppressed_until_it_is_allowed(
    client: httpx.AsyncClient, server: Server, database_url: str
) -> None:
    to = address()
    server.at_recipient = lambda one: "550 5.1.1 user unknown" if one == to else OK
    first, second, third = (asked(to) for _ in range(3))
    await tell(client, first)
    failed = await ended(client, first.mail_id)
    await tell(client, second)
    silent = await ended(client, second.mail_id)

    assert (failed["state"], failed["code"], failed["attempts"]) == ("failed", "no_such_address", 1)
    assert "550" in failed["error"]
    assert (silent["state"], silent["code"], silent["attempts"]) == ("suppressed", "bounce", 0)
    [known] = events(database_url, EVENTS)
    assert known.topic == "delivery.failed"
    assert (known.data["delivery_id"], known.data["code"]) == (first.mail_id, "no_such_address")
    assert to not in str(known.data)
    lifted = await client.post("/notifications/suppressions/lift", json={"email": to}, headers=ADMIN)
    assert lifted.json() == {"was_suppressed": True}
    server.at_recipient = lambda _: OK
    retried = await client.post(f"/notifications/deliveries/{first.mail_id}/retry", headers=ADMIN)
    assert retried.status_code == 200
    await tell(client, third)
    assert [(await ended(client, one.mail_id))["state"] for one in (first, third)] == ["sent", "sent"]
    again = await client.post(f"/notifications/deliveries/{first.mail_id}/retry", headers=ADMIN)
    assert (again.status_code, again.json()["code"]) == (409, "not_failed")


async def test_deferred_mail_is_tried_again_with_the_same_message_id_until_it_is_given_up(
    client: httpx.AsyncClient, server: Server
) -> None:
    later, never = address(), address()
    seen = list[tuple[str, str]]()

    def defer(mail: Any) -> str:
        seen.append((mail["To"], mail["Message-ID"]))
        tries = sum(to == mail["To"] for to, _ in seen)
        return "451 later" if mail["To"] == never or tries < 3 else OK

    server.at_content = defer
    first, second = asked(later), asked(never)
    await tell(client, first, second)
    sent, failed = await ended(client, first.mail_id), await ended(client, second.mail_id)

    assert (sent["state"], sent["attempts"]) == ("sent", 3)
    assert [one["outcome"] for one in sent["made"]] == ["deferred", "deferred", "sent"]
    assert (failed["state"], failed["code"], failed["attempts"]) == ("failed", "deferred", 8)
    assert len(set(seen)) == 2, "one Message-ID for each mail"


async def test_outage_of_the_server_costs_no_attempts_and_mails_arrive_after_it(
    start: Start, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "OPEN_SECONDS_FIRST", 0.01)
    monkeypatch.setattr(breaker, "OPEN_SECONDS_MAX", 0.01)
    to, calls = address(), 0

    def busy(_: str) -> str:
        nonlocal calls
        calls += 1
        return "421 too busy" if calls <= 12 else OK

    server.at_recipient = busy
    event = asked(to)
    async with start() as client:
        await tell(client, event)
        shown = await ended(client, event.mail_id)

    assert (shown["state"], len(server.to(to))) == ("sent", 1)
    assert shown["attempts"] == 13, "more than the eight that a mail has"
    assert {one["code"] for one in shown["made"][:-1]} == {"busy"}


async def test_mail_that_expired_or_cannot_be_addressed_is_not_sent(
    client: httpx.AsyncClient, server: Server
) -> None:
    late = asked(address(), expires=now() - timedelta(seconds=1))
    bad = asked("ann@example.com\r\nBcc: eve@example.com")
    await tell(client, late, bad)
    states = [await ended(client, one.mail_id) for one in (late, bad)]

    assert [(one["state"], one["code"]) for one in states] == [
        ("expired", "expired"),
        ("failed", "bad_address"),
    ]
    assert not server.to(late.email)


async def test_daily_limit_of_an_address_applies_to_notices_and_not_to_mails_of_auth(
    start: Start, server: Server
) -> None:
    me, _ = person()
    to = address()
    resets = [asked(to) for _ in range(4)]
    async with start(mail_per_address_daily=3) as client:
        await tell(client, account(me, email=to, email_verified=True))
        await tell(client, *resets[:3])
        await tell(client, *(placed(me) for _ in range(5)))
        await tell(client, resets[3])
        listed = (await client.get(f"/notifications/deliveries?user_id={me}", headers=ADMIN)).json()
        notices = [(await ended(client, one["id"]))["state"] for one in listed]
        asked_for = [(await ended(client, one.mail_id))["state"] for one in resets]

    assert sorted(notices) == ["sent"] * 3 + ["suppressed"] * 2
    assert asked_for == ["sent"] * 4
    assert len(server.to(to)) == 7


async def test_fault_of_one_of_the_mails_that_are_noted_together_concerns_that_one_alone(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    rested, logged, sizes, broken = list[float](), list[str](), list[int](), list[str]()
    noticed, real = asyncio.Event(), courier.Courier._settle_all

    def settle(self: courier.Courier, session: Session, some: Sequence[courier._Ended]) -> None:
        sizes.append(len(some))
        if len(sizes) == 1:  # the three others wait meanwhile
            assert eventually(lambda: len(self._ended) == 3, seconds=SECONDS)
        if len(some) > 1:
            broken.append(some[1].job.row["id"])
        if any(one.job.row["id"] in broken for one in some):
            raise RuntimeError("the outcome cannot be stored")
        real(self, session, some)

    async def rest(_self: courier.Courier, seconds: float) -> None:
        rested.append(seconds)
        noticed.set()

    def note(event: str, **values: object) -> None:
        logged.append(f"{event} {values}")
        noticed.set()

    monkeypatch.setattr(courier.Courier, "_settle_all", settle)
    monkeypatch.setattr(courier.Courier, "_rest", rest)
    monkeypatch.setattr(courier.log, "error", note)
    mails = [asked(address()) for _ in range(4)]
    await tell(client, *mails)
    async with asyncio.timeout(SECONDS):
        await noticed.wait()
    sent = [one.mail_id for one in mails if one.mail_id not in broken]

    assert [(await ended(client, one))["state"] for one in sent] == ["sent"] * 3
    assert sizes == [1, 3, 1, 1, 1], "the first alone, three together, then each of these"
    assert rested == []
    assert f"mail_interrupted {{'mail_id': '{broken[0]}'" in logged[0]


async def test_mail_with_an_unknown_template_is_dead_and_the_others_are_sent(
    client: httpx.AsyncClient, server: Server
) -> None:
    to = address()
    unknown, known = asked(to, template="from_the_future"), asked(to)
    await tell(client, unknown, known)

    assert (await ended(client, known.mail_id))["state"] == "sent"
    refused = await client.get(f"/notifications/deliveries/{unknown.mail_id}", headers=ADMIN)
    assert refused.status_code == 404
    assert len(server.to(to)) == 1


async def test_security_mail_also_causes_a_notification_without_its_link(client: httpx.AsyncClient) -> None:
    me, mine = person()
    changed = asked(address(), "factor_added", account_id=me, link=None, expires=None)
    await tell(client, changed, asked(address(), account_id=me))
    (shown,) = (await client.get("/notifications", headers=mine)).json()

    assert (shown["type"], shown["severity"]) == ("security.alert", "warning")
    assert shown["title"] == "A second factor was added"
    assert shown["content"].startswith("New: a passkey.")
    off = {"choices": [{"type": "security.alert", "channel": "email", "on": False}]}
    refused = await client.put("/notifications/preferences", json=off, headers=mine)
    assert refused.json()["code"] == "always_on"


async def test_notifications_are_mailed_to_confirmed_addresses_of_those_who_want_them(
    client: httpx.AsyncClient, server: Server
) -> None:
    (ann, hers), (ben, _), (eve, _) = person(), person(), person()
    emails = {ann: address(), ben: address(), eve: address()}
    for one, email in emails.items():
        await tell(client, account(one, email=email, email_verified=one != eve))
    off = {"choices": [{"type": "order.changed", "channel": "email", "on": False}]}
    await client.put("/notifications/preferences", json=off, headers=hers)
    steps = [stepped(one, "confirmed", "shipped") for one in emails]
    await tell(client, *steps)
    listed = (await client.get("/notifications/deliveries", headers=ADMIN)).json()
    (one,) = [row for row in listed if row["user_id"] in emails]
    await ended(client, one["id"])
    (mail,) = server.to(emails[ben])

    assert one["user_id"] == ben
    assert mail["Subject"] == "Your order is on its way"
    assert not server.to(emails[ann])
    assert not server.to(emails[eve])


async def test_deleted_account_gets_no_more_mail(client: httpx.AsyncClient, server: Server) -> None:
    me, _ = person()
    to = address()
    server.at_content = lambda mail: "451 later" if mail["To"] == to else OK
    await tell(client, account(me, email=to, email_verified=True))
    waiting, late = asked(to, account_id=me), asked(to, account_id=me)
    await tell(client, waiting)
    await tell(client, AccountDeleted(account_id=me, deleted=now()))
    await tell(client, late)
    server.at_content = lambda _: OK
    last = asked(address())
    await tell(client, last)
    await ended(client, last.mail_id)

    for one in (waiting, late):
        gone = await client.get(f"/notifications/deliveries/{one.mail_id}", headers=ADMIN)
        assert gone.status_code == 404
    assert not server.to(to)


async def test_waiting_mail_can_be_cancelled(start: Start, server: Server) -> None:
    event = asked(address())
    server.at_content = lambda _: "451 later"
    path = f"/notifications/deliveries/{event.mail_id}"
    async with start(mail_transport="file") as client:  # it is never asked: the mail was sent before
        await tell(client, event)
        await ended(client, event.mail_id)
        refused = await client.post(f"{path}/cancel", headers=ADMIN)

    assert (refused.status_code, refused.json()["code"]) == (409, "not_queued")
    assert refused.json()["state_now"] == "sent"


async def test_admin_tests_whether_mails_arrive_five_times_an_hour(
    client: httpx.AsyncClient, server: Server
) -> None:
    to = address()
    body = {"to": to, "subject": "Hello", "body": "It arrived."}
    sent = [await client.post("/notifications/test-email", json=body, headers=ADMIN) for _ in range(6)]
    await ended(client, sent[0].json()["delivery_id"])

    assert [one.status_code for one in sent] == [202] * 5 + [429]
    assert server.to(to)[0]["Subject"] == "Hello"
    bad = await client.post(
        "/notifications/test-email", json={**body, "to": "a\r\nb@example.com"}, headers=ADMIN
    )
    assert (bad.status_code, bad.json()["errors"][0]["field"]) == (422, "to")


async def test_changed_text_is_used_until_it_is_restored(client: httpx.AsyncClient, server: Server) -> None:
    to, path = address(), "/notifications/templates/reset_password"
    before = (await client.get(path, headers=ADMIN)).json()
    text = {"subject": "For {{ email }}", "body": "Go on:\n\n{{ button(link, 'Go on') }}"}
    changed = (await client.put(path, json=text, headers=ADMIN)).json()
    event = asked(to)
    await tell(client, event)
    await ended(client, event.mail_id)
    restored = (await client.delete(path, headers=ADMIN)).json()

    assert (changed["is_changed"], changed["version"]) == (True, 1)
    assert server.to(to)[0]["Subject"] == f"For {to}"
    assert restored == before
    listed = (await client.get("/notifications/templates", headers=ADMIN)).json()
    assert before in listed


async def test_text_that_cannot_be_filled_is_refused_with_its_line(client: httpx.AsyncClient) -> None:
    path = "/notifications/templates/reset_password"
    text = {"subject": "Hello", "body": "first\n\n{{ nothing }}"}
    refused = await client.put(path, json=text, headers=ADMIN)
    preview = await client.post(f"{path}/preview", json=text, headers=ADMIN)
    good = await client.post(f"{path}/preview", json={"values": {"email": "<b>"}}, headers=ADMIN)

    for answer in (refused, preview):
        assert answer.status_code == 422
        (fault,) = answer.json()["errors"]
        assert (fault["field"], fault["code"]) == ("body", "invalid_template")
        assert fault["message"].startswith("line 3: there is no field 'nothing'")
    assert good.status_code == 200
    assert "&lt;b&gt;" in good.json()["html"]
    for unknown in ("nothing", "from_the_future"):
        assert (await client.get(f"/notifications/templates/{unknown}", headers=ADMIN)).status_code == 404


async def test_development_writes_mails_to_files_readable_by_their_owner_alone(
    start: Start, tmp_path: Any
) -> None:
    event = asked(address())
    async with start(smtp_url="") as client:
        await tell(client, event)
        await ended(client, event.mail_id)
    (file,) = (tmp_path / "mail").glob("*.eml")

    assert file.name == f"{event.mail_id}-reset_password.eml"
    assert file.stat().st_mode & 0o777 == 0o600
    assert re.search(rf"^{re.escape(LINK)}\r?$", file.read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/notifications/deliveries"),
        ("GET", "/notifications/deliveries/{id}"),
        ("POST", "/notifications/deliveries/{id}/retry"),
        ("POST", "/notifications/deliveries/{id}/cancel"),
        ("POST", "/notifications/test-email"),
        ("GET", "/notifications/suppressions"),
        ("POST", "/notifications/suppressions"),
        ("DELETE", "/notifications/suppressions/{id}"),
        ("POST", "/notifications/suppressions/lift"),
        ("GET", "/notifications/templates"),
        ("GET", "/notifications/templates/notice"),
        ("PUT", "/notifications/templates/notice"),
        ("DELETE", "/notifications/templates/notice"),
        ("POST", "/notifications/templates/notice/preview"),
    ],
)
async def test_only_admins_see_deliveries_and_texts(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    path = path.replace("{id}", new_id())
    narrow = bearer(token(ADMIN_ID, role="admin", scope="notifications:write"))
    answers = [await client.request(method, path, headers=one) for one in ({}, person()[1], narrow)]

    assert [one.status_code for one in answers] == [401, 403, 403]
    if "{id}" in path:
        assert (await client.request(method, path, headers=ADMIN)).status_code == 404


def test_settings_that_would_lose_mails_are_refused(make_settings: Callable[..., Any]) -> None:
    for values in (
        {"smtp_url": "http://mail.example.com"},
        {"smtp_url": "smtp://mail.example.com"},  # the sender is still the default
        {"smtp_url": "smtp://mail.example.com", "mail_from": "nobody"},
        {"mail_transport": "smtp"},
        {"environment": "production", "key_secret": KEY_SECRET, "mail_transport": "file"},
    ):
        with pytest.raises(ValueError, match=r"mail|MAIL|smtp|SMTP"):
            make_settings(Settings, **values)


async def test_unknown_template_is_404_after_its_body_was_validated(client: httpx.AsyncClient) -> None:
    path = f"/notifications/templates/{new_id()}"
    assert (await client.get(path, headers=ADMIN)).status_code == 404
    refused = await client.put(path, json={"subject": "S"}, headers=ADMIN)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "body")
    unknown = await client.put(path, json={"subject": "S", "body": "B"}, headers=ADMIN)
    assert unknown.status_code == 404
