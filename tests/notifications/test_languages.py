"""Notifications and mails in the language of their reader, and texts that stay as they were when queued."""

import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from contracts.boxes import BoxStopped
from contracts.events import MailRequested, StockLow, SyncFinished
from contracts.invoices import InvoiceIssued
from contracts.support import ReviewModerated, TicketChanged, TicketOpened, TicketOverdue, TicketReplied
from services.notifications import notices, of_support, wording
from services.notifications.digests import _title
from services.notifications.events import ALERTS, NOTICES, of_mail
from services.notifications.kinds import NoticeType
from services.notifications.languages import Amount, Language, Term, Value, language_of, shown
from services.notifications.mail import texts
from services.notifications.mail.rendering import TextFault
from services.notifications.mail.templates import Text, built_in
from services.notifications.models import DELIVERIES, WORK
from services.notifications.settings import Settings
from services.notifications.wording import TEXTS, Phrase
from shared.clock import now
from shared.data.database import Database
from shared.data.sealed import SealedColumn
from shared.events import Event
from tests.notifications.smtp import Server
from tests.notifications.support import (
    ADMIN,
    KEY_SECRET,
    MOMENT,
    Start,
    account,
    person,
    placed,
    stepped,
    tell,
)
from tests.notifications.test_mails import address, asked, ended

FOLDER = Path(__file__).parent / "notice_snapshots"
TIMING = "/notifications/preferences/mails"
WRITTEN_BY_HAND = (NoticeType.MESSAGE, NoticeType.ANNOUNCEMENT)  # in the words of an admin


def _ticket(kind: type[Event], **fields: object) -> Event:
    state = {
        "ticket_id": "t",
        "number": "2026-000042",
        "user_id": "ann",
        "status": "open",
        "priority": "high",
        "category": "other",
        "assigned_to": None,
        "updated": MOMENT,
    }
    return kind.model_validate({**state, **fields})


def every_event() -> Iterator[Event]:
    """Yield each event in each form that has words of its own."""
    yield placed("ann")
    for status in ("confirmed", "shipped", "delivered", "cancelled", "returned", "on_hold"):
        yield stepped("ann", "pending", status)
    for kind, total, currency in (("invoice", 129_999, "USD"), ("credit_note", 500, "JPY")):
        facts = {"invoice_id": "i", "order_id": "o", "user_id": "ann", "issued": MOMENT, "number": "N-1"}
        yield InvoiceIssued.model_validate(
            {**facts, "kind": kind, "total_minor": total, "currency": currency}
        )
    counts = {"sync_id": "s", "kind": "all", "seen": 0, "changed": 0, "gone": 0, "accounts": ()}
    for state, number in (("failed", 0), ("completed", 1), ("completed", 1500)):
        yield SyncFinished.model_validate({**counts, "state": state, "workspaces_gone": number})
    product = {"product_id": "p", "sku": "LT-1", "name": "Laptop", "available": 2, "low_at": 5}
    yield StockLow.model_validate(product)
    for reason in ("idle", "disk_full", "admin", "killed"):
        yield BoxStopped(box_id="b", user_id="ann", reason=reason, stopped=MOMENT)
    yield from events_of_support()
    for template in (*ALERTS, "export_ready"):
        values = {"factor": "a passkey", "provider": "Google", "admin": "eve", "minutes": "15"}
        yield asked("ann@example.com", template, account_id="ann", values=values)


def events_of_support() -> Iterator[Event]:
    yield _ticket(TicketOpened)
    for by_staff, author in ((True, "ben"), (False, "ann")):
        fields = {"reply_id": "r", "author_id": author, "by_staff": by_staff}
        yield _ticket(TicketReplied, status_before="open", **fields)
    for status in ("in_progress", "waiting", "resolved", "closed", "parked"):
        yield _ticket(TicketChanged, by="ben", status=status, status_before="open")
    for by in ("ben", "ann"):
        yield _ticket(TicketChanged, by=by, status_before="resolved")
    for due in ("first_reply", "resolve", "third"):
        yield _ticket(TicketOverdue, due=due)
    decisions: tuple[tuple[str | None, str], ...] = (
        *(("ben", "approved"), ("ben", "rejected"), ("ben", "hidden")),
        (None, "hidden"),
    )
    for decided, status in decisions:
        review = {"review_id": "v", "user_id": "ann", "resource_type": "product", "resource_id": "p"}
        rest = {"status_before": "pending", "status": status, "by": decided, "rating": 5, "updated": MOMENT}
        yield ReviewModerated.model_validate({**review, **rest})


def wordings() -> Iterator[tuple[str, Phrase]]:
    """Yield the words of everything of which people are notified."""
    for event in every_event():
        found = of_mail(event) if isinstance(event, MailRequested) else NOTICES[type(event)](None, event)  # type: ignore[arg-type]
        for one in found:
            assert isinstance(one.wording, Phrase)
            yield one.type, one.wording
    for because in ("gone", "failing"):
        yield NoticeType.WEBHOOK_DISABLED, Phrase("webhook_disabled", {"host": "a.b", "because": because})
    yield "phone", Phrase("phone_code", {"code": "012345"})
    for number in (1, 2, 51):
        yield "digest", _title(number)


@pytest.fixture
def staff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "admins", lambda _: ["boss"])
    monkeypatch.setattr(of_support, "staff", lambda _: ["boss"])


@pytest.mark.usefixtures("staff")
@pytest.mark.parametrize("language", Language)
def test_every_notification_reads_as_it_did(language: Language) -> None:
    """After an intended change, run this file with `REWRITE_SNAPSHOTS=1`, then look at the difference."""
    lines = []
    for kind, phrase in wordings():
        words = phrase.in_language(language)
        assert words.title
        assert not any(mark in f"{words}" for mark in ("{{", "{%", "Undefined"))
        lines.append(f"{kind}\n{words.title}\n{words.content}\n")
    file = FOLDER / f"{language}.txt"
    if os.environ.get("REWRITE_SNAPSHOTS"):
        file.write_text("\n".join(lines), encoding="utf-8")

    assert "\n".join(lines) == file.read_text(encoding="utf-8")


@pytest.mark.usefixtures("staff")
def test_every_type_of_notification_and_every_text_is_among_them() -> None:
    told = list(wordings())

    assert {*NoticeType} <= {kind for kind, _ in told} | {*WRITTEN_BY_HAND}
    for language in Language:
        assert {file.stem for file in (TEXTS / language).iterdir()} == {phrase.name for _, phrase in told}


@pytest.mark.usefixtures("staff")
@pytest.mark.parametrize("language", Language)
def test_missing_value_is_an_error_and_never_an_empty_place(language: Language) -> None:
    for _, phrase in wordings():
        source = f"{wording.text_of(phrase.name, language)}"
        if "{{" not in source and "{%" not in source:
            continue
        with pytest.raises(TextFault, match="undefined"):
            Phrase(phrase.name).in_language(language)


@pytest.mark.usefixtures("staff")
@pytest.mark.parametrize("language", Language)
def test_alert_in_the_app_has_the_subject_of_its_mail(language: Language) -> None:
    for name in (*ALERTS, "export_ready"):
        assert wording.text_of(name, language).subject == built_in(name, language).subject


@pytest.mark.parametrize(
    ("value", "english", "german"),
    [
        (1, "1", "1"),
        (1500, "1,500", "1.500"),
        (Amount(129_999, "USD"), "1,299.99 USD", "1.299,99 USD"),
        (Amount(123_456, "JPY"), "123,456 JPY", "123.456 JPY"),
        (MOMENT, "31 January 2026, 12:00 UTC", "31. Januar 2026, 12:00 UTC"),
        (Term("in_progress"), "in progress", "in Arbeit"),
        (Term("of_the_future"), "of the future", "of the future"),
        ("1,5", "1,5", "1,5"),
    ],
)
def test_values_are_written_as_readers_of_the_language_expect(
    value: Value, english: str, german: str
) -> None:
    assert (shown(value, Language.ENGLISH), shown(value, Language.GERMAN)) == (english, german)


@pytest.mark.parametrize(
    ("tag", "language"),
    [(None, "de"), ("de", "de"), ("de-AT", "de"), ("DE", "de"), ("en-GB", "en"), ("fr", "en"), ("deu", "en")],
)
def test_language_without_texts_falls_back_to_english(tag: str | None, language: str) -> None:
    assert language_of(tag, Language.GERMAN) == language


@pytest.fixture
async def client(start: Start) -> AsyncIterator[httpx.AsyncClient]:
    async with start() as client:
        yield client


async def reader(client: httpx.AsyncClient, **timing: str) -> tuple[str, dict[str, str], str]:
    """Create an account with a confirmed address; return its id, its headers and the address."""
    (me, mine), email = person(), address()
    await tell(client, account(me, email=email, email_verified=True))
    if timing:
        chosen = await client.put(TIMING, json=timing, headers=mine)
        assert chosen.status_code == 200, chosen.text
    return me, mine, email


async def sent_to(client: httpx.AsyncClient, user_id: str) -> dict[str, Any]:
    """Wait until the only delivery to an account has ended."""
    (one,) = (await client.get(f"/notifications/deliveries?user_id={user_id}", headers=ADMIN)).json()
    return await ended(client, one["id"])


async def test_each_person_reads_the_language_they_chose(client: httpx.AsyncClient, server: Server) -> None:
    (ann, anns, to_ann), (ben, bens, to_ben) = await reader(client, language="de-AT"), await reader(client)
    await tell(client, stepped(ann, "pending", "shipped"), stepped(ben, "pending", "shipped"))
    sent = [await sent_to(client, one) for one in (ann, ben)]
    titles = [
        [one["title"] for one in (await client.get("/notifications", headers=headers)).json()]
        for headers in (anns, bens)
    ]
    german, english = server.to(to_ann)[0], server.to(to_ben)[0]
    html = german.get_body(("html",))
    assert html is not None

    assert titles == [["Ihre Bestellung ist unterwegs"], ["Your order is on its way"]]
    assert [german["Subject"], english["Subject"]] == [*titles[0], *titles[1]]
    assert "Laptop, Menge 2: ausstehend → versandt." in html.get_content()
    assert '<html lang="de">' in html.get_content()
    assert "automatisch von Gatehouse gesendet" in html.get_content()
    assert [one["language"] for one in sent] == ["de", "en"]
    assert [one["text_version"] for one in sent] == [
        built_in("notice", language).version for language in (Language.GERMAN, Language.ENGLISH)
    ]


async def test_mail_of_auth_is_in_the_language_of_its_account(
    client: httpx.AsyncClient, server: Server
) -> None:
    me, mine, to = await reader(client, language="de")
    reset, added = asked(to, account_id=me), asked(to, "factor_added", account_id=me, link=None)
    await tell(client, reset, added)
    for event in (reset, added):
        await ended(client, event.mail_id)
    mails = {one["Subject"]: one for one in server.to(to)}
    text = mails["Wählen Sie ein neues Passwort"].get_body(("plain",))
    assert text is not None
    (alert,) = (await client.get("/notifications", headers=mine)).json()

    assert reset.expires is not None
    assert f"bis zum {shown(reset.expires, Language.GERMAN)}" in text.get_content()
    assert set(mails) == {"Wählen Sie ein neues Passwort", "Ein zweiter Faktor wurde hinzugefügt"}
    assert alert["content"].startswith("Neu: ein Passkey.")


async def test_installation_chooses_the_language_of_those_who_have_not(start: Start, server: Server) -> None:
    async with start(notification_language="de") as client:
        (_, _, _), event = await reader(client), asked(address())
        french, headers, _ = await reader(client, language="fr")
        await tell(client, event)
        await ended(client, event.mail_id)
        await tell(client, placed(french))
        (told,) = (await client.get("/notifications", headers=headers)).json()

    assert server.to(event.email)[0]["Subject"] == "Wählen Sie ein neues Passwort"
    assert told["title"] == "Your order was placed", "English, not the language of the installation"


def make_due(database_url: str, mail_id: str, **changes: object) -> None:
    """Let a mail that waits be sent now, with other values in its columns."""
    database = Database(database_url, pool_size=1)
    with database.transaction() as session:
        execute = session.connection().execute
        execute(update(DELIVERIES).where(DELIVERIES.c.id == mail_id).values(planned=None, **changes))
        past = {"due": now() - timedelta(seconds=1), "lease": None}
        execute(update(WORK.work).where(WORK.work.c.id.like(f"%{mail_id}")).values(past))
    database.close()


def quiet() -> dict[str, str]:
    """Return quiet hours that contain this moment."""
    begins, ends = now() - timedelta(hours=2), now() + timedelta(hours=2)
    return {"quiet_from": f"{begins:%H:%M}", "quiet_to": f"{ends:%H:%M}"}


async def hold(client: httpx.AsyncClient) -> tuple[dict[str, Any], dict[str, str], str]:
    """Queue a German mail that waits for the end of quiet hours; return it, its reader and the address."""
    me, mine, to = await reader(client, language="de", **quiet())
    await tell(client, placed(me))
    (held,) = (await client.get(f"/notifications/deliveries?user_id={me}", headers=ADMIN)).json()
    assert held["state"] == "queued"
    await client.put(TIMING, json={"language": "en"}, headers=mine)
    return held, mine, to


async def test_mail_keeps_the_text_and_language_it_was_queued_with(
    start: Start, server: Server, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service is upgraded, an admin changes the text, and the reader the language, while it waits."""
    async with start() as client:
        held, _, to = await hold(client)
    newer = Text("A newer subject", "A newer text")
    monkeypatch.setattr(texts, "built_in", lambda *_: newer)
    async with start() as client:
        changed = {"subject": "Von Admins", "body": "Neuer Text"}
        path = "/notifications/templates/notice?language=de"
        assert (await client.put(path, json=changed, headers=ADMIN)).status_code == 200
        make_due(database_url, held["id"])
        sent = await ended(client, held["id"])
        other, _, to_other = await reader(client, language="de")
        await tell(client, placed(other))
        later = await sent_to(client, other)
        await client.delete(path, headers=ADMIN)

    assert sent["state"] == "sent"
    assert (sent["language"], sent["text_version"]) == (held["language"], held["text_version"])
    assert server.to(to)[0]["Subject"] == "Ihre Bestellung ist eingegangen"
    assert server.to(to_other)[0]["Subject"] == "Von Admins"
    assert later["text_version"] != held["text_version"]


async def test_mail_that_an_earlier_version_queued_is_sent_in_english(
    start: Start, server: Server, database_url: str, make_settings: Callable[..., Any]
) -> None:
    sealer = make_settings(Settings, database_url=database_url, key_secret=KEY_SECRET).sealer()
    column = SealedColumn(sealer, DELIVERIES.c.sealed)
    values = {"title": "Your order was placed", "content": "You ordered it.", "origin": ""}
    async with start() as client:
        held, _, to = await hold(client)
        content = {"to": to, "values": values, "link": None, "unsubscribe": None, "invoice": None}
        sealed = column.seal(held["id"], json.dumps(content))
        make_due(database_url, held["id"], sealed=sealed, language=None, text_version=None)
        sent = await ended(client, held["id"])
    html = server.to(to)[0].get_body(("html",))
    assert html is not None

    assert (sent["state"], sent["language"]) == ("sent", None)
    assert "<p>You ordered it.</p>" in html.get_content()
    assert "sent automatically by Gatehouse" in html.get_content()


async def test_text_of_one_language_is_changed_alone(client: httpx.AsyncClient, server: Server) -> None:
    path = "/notifications/templates/notice"
    before = (await client.get(path, headers=ADMIN)).json()
    text = {"subject": "Neu: {{ title }}", "body": "{{ content }}"}
    changed = (await client.put(f"{path}?language=de", json=text, headers=ADMIN)).json()
    me, _, to = await reader(client, language="de")
    await tell(client, placed(me))
    sent = await sent_to(client, me)
    english = (await client.get(path, headers=ADMIN)).json()
    preview = (await client.post(f"{path}/preview?language=de", json={}, headers=ADMIN)).json()
    listed = (await client.get("/notifications/templates?language=de", headers=ADMIN)).json()
    restored = (await client.delete(f"{path}?language=de", headers=ADMIN)).json()

    assert (changed["language"], changed["is_changed"], changed["version"]) == ("de", True, 1)
    assert changed in listed
    assert english == before
    assert server.to(to)[0]["Subject"] == "Neu: Ihre Bestellung ist eingegangen"
    assert sent["text_version"] == changed["text_version"] != restored["text_version"]
    assert preview["subject"] == "Neu: Ihre Bestellung ist unterwegs"
    assert restored["is_changed"] is False
    assert (await client.get(f"{path}?language=fr", headers=ADMIN)).status_code == 422
