"""Text messages: a person confirms a phone, and a fake Twilio sends to it."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

import httpx
import pytest

from contracts.events import AccountDeleted
from services.notifications import breaker
from services.notifications.app import create_app
from services.notifications.models import DELIVERIES, PHONES
from services.notifications.settings import Settings
from services.notifications.sms.messages import LEASE_TIMEOUTS
from shared.clock import now
from shared.data.database import Database
from shared.ids import first_id, new_id
from shared.testing import bearer, running, token
from shared.work import changes
from tests.notifications import twilio
from tests.notifications.support import (
    ADMIN,
    KEY_SECRET,
    Start,
    account,
    person,
    placed,
    stepped,
    table_of_deliveries,
    tell,
)
from tests.notifications.test_mails import ended
from tests.notifications.twilio import Reply, Twilio

SECONDS = 60
PHONE = "/notifications/phone"
TEST = "/notifications/test-sms"


def number() -> str:
    return f"+4930{int(new_id()[-8:], 16):010}"


@pytest.fixture(scope="module")
def fake() -> Iterator[Twilio]:
    with twilio.serving() as server:
        yield server


@pytest.fixture
def server(fake: Twilio, monkeypatch: pytest.MonkeyPatch) -> Twilio:
    fake.reply, fake.list_status = lambda _: Reply(), 200
    monkeypatch.setattr(breaker, "OPEN_SECONDS_FIRST", 0.01)
    monkeypatch.setattr(breaker, "OPEN_SECONDS_MAX", 0.01)
    monkeypatch.setattr(changes, "LOOK_SECONDS_LISTENING", 0.05)
    return fake


@pytest.fixture
def texting(make_settings: Callable[..., Any], database_url: str, auth_url: str, server: Twilio) -> Start:
    """Starts services that send to the fake, and try again at once."""

    def starting(**values: Any) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        usual = {
            "database_url": database_url,
            "auth_url": auth_url,
            "key_secret": KEY_SECRET,
            "sms_retry_seconds": 0.01,
            **server.settings,
        }
        return running(create_app, make_settings(Settings, **{**usual, **values}))

    return starting


@pytest.fixture
async def client(texting: Start) -> AsyncIterator[httpx.AsyncClient]:
    async with texting() as client:
        yield client


async def arrived(server: Twilio, to: str, number: int = 1) -> list[str]:
    async with asyncio.timeout(SECONDS):
        while len(server.to(to)) < number:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return server.to(to)


async def with_phone(
    client: httpx.AsyncClient, server: Twilio, *types: str
) -> tuple[str, dict[str, str], str]:
    """Create an account with a confirmed phone that wants text messages of some types."""
    (me, mine), to = person(), number()
    await tell(client, account(me))
    entered = await client.put(PHONE, json={"number": to}, headers=mine)
    assert entered.json() == {"number": to, "is_confirmed": False}, entered.text
    (text,) = await arrived(server, to)
    found = re.search(r"\b[0-9]{6}\b", text)
    assert found is not None
    confirmed = await client.post(f"{PHONE}/confirm", json={"code": found[0]}, headers=mine)
    assert confirmed.json() == {"number": to, "is_confirmed": True}, confirmed.text
    choices = [{"type": one, "channel": "sms", "on": True} for one in types]
    if choices:
        chosen = await client.put("/notifications/preferences", json={"choices": choices}, headers=mine)
        assert chosen.status_code == 200, chosen.text
    return me, mine, to


async def test_notification_is_texted_to_a_confirmed_phone_if_its_owner_chose_that(
    client: httpx.AsyncClient, server: Twilio
) -> None:
    me, mine, to = await with_phone(client, server, "order.changed")
    await tell(client, placed(me), stepped(me, "confirmed", "shipped"))
    texts = await arrived(server, to, 2)

    assert texts[1] == "Your order is on its way: Laptop, quantity 2: confirmed → shipped."
    listed = (await client.get(f"/notifications/deliveries?user_id={me}", headers=ADMIN)).json()
    assert [(one["channel"], one["template"]) for one in listed] == [
        ("sms", "notice_sms"),
        ("sms", "phone_code"),
    ]
    removed = [await client.delete(PHONE, headers=mine) for _ in range(2)]
    await tell(client, stepped(me, "shipped", "delivered"))
    assert [one.status_code for one in removed] == [204, 404]
    assert (await client.get(PHONE, headers=mine)).json() == {"number": None, "is_confirmed": False}
    assert len((await client.get(f"/notifications/deliveries?user_id={me}", headers=ADMIN)).json()) == 2


async def test_code_and_notification_are_texted_in_the_language_of_their_reader(
    client: httpx.AsyncClient, server: Twilio
) -> None:
    me, mine, to = await with_phone(client, server, "order.changed")
    chosen = await client.put("/notifications/preferences/mails", json={"language": "de"}, headers=mine)
    assert chosen.status_code == 200, chosen.text
    await tell(client, stepped(me, "confirmed", "shipped"))
    told = await arrived(server, to, 2)
    await client.put(PHONE, json={"number": (again := number())}, headers=mine)
    (code,) = await arrived(server, again)

    assert told[1] == "Ihre Bestellung ist unterwegs: Laptop, Menge 2: bestätigt → versandt."
    assert re.fullmatch(r"Ihr Code ist [0-9]{6}\. Er ist 10 Minuten gültig\. .*", code)


async def test_phone_is_confirmed_only_by_the_code_that_was_sent_to_it_within_five_tries(
    client: httpx.AsyncClient, server: Twilio, monkeypatch: pytest.MonkeyPatch
) -> None:
    (_, mine), to = person(), number()
    early = await client.post(f"{PHONE}/confirm", json={"code": "000000"}, headers=mine)
    monkeypatch.setattr("secrets.randbelow", lambda _: 123)
    await client.put(PHONE, json={"number": to}, headers=mine)
    wrong = [await client.post(f"{PHONE}/confirm", json={"code": "999999"}, headers=mine) for _ in range(6)]
    right = await client.post(f"{PHONE}/confirm", json={"code": "000123"}, headers=mine)

    assert (early.status_code, early.json()["code"]) == (409, "no_code_sent")
    assert [one.json()["code"] for one in wrong] == ["wrong_code"] * 5 + ["no_code_sent"]
    assert (right.status_code, right.json()["code"]) == (409, "no_code_sent")
    again = [(await client.put(PHONE, json={"number": to}, headers=mine)).status_code for _ in range(5)]
    assert again == [200] * 4 + [429]
    confirmed = await client.post(f"{PHONE}/confirm", json={"code": "000123"}, headers=mine)
    assert confirmed.json()["is_confirmed"] is True
    for bad in ("030 123456", "+49", "+0123456789", "+49301234567890123"):
        refused = await client.put(PHONE, json={"number": bad}, headers=mine)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "number")


async def test_phone_of_a_deleted_account_is_deleted_and_no_database_column_shows_a_number(
    client: httpx.AsyncClient, server: Twilio, settings: Settings
) -> None:
    me, _, to = await with_phone(client, server)
    database = Database(settings.database_url, pool_size=1)

    def rows() -> tuple[list[Any], list[Any]]:
        with database.transaction(write=False) as session:
            execute = session.connection().execute
            return [*execute(PHONES.select()).mappings()], [*execute(DELIVERIES.select()).mappings()]

    before = rows()
    await tell(client, AccountDeleted(account_id=me, deleted=now()))
    after = rows()
    database.close()

    assert [row["user_id"] for row in before[0]] == [me]
    assert to not in str(before)
    assert after == ([], [])


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply(500, accepts=True), "status_500"),
        (Reply(late=1.0), "late"),
        (Reply(201, accepts=False, hangs=True), "late"),
        (Reply(503, accepts=False), "status_503"),
        (Reply(429, headers={"Retry-After": "0"}, accepts=False), "busy"),
    ],
)
async def test_message_arrives_exactly_once_although_a_response_was_lost_or_an_error(
    texting: Start, server: Twilio, reply: Reply, code: str
) -> None:
    to = number()
    answers = iter([reply])
    server.reply = lambda _: next(answers, Reply())
    seconds = 0.5 if code == "late" else 30
    async with texting(sms_timeout_seconds=seconds) as client:
        sent = await client.post(TEST, json={"to": to, "body": "It arrived."}, headers=ADMIN)
        shown = await ended(client, sent.json()["delivery_id"])

    assert sent.status_code == 202
    assert (shown["state"], shown["channel"]) == ("sent", "sms")
    first, *_, last = shown["made"]
    assert (first["code"], last["outcome"]) == (code, "sent")
    assert server.to(to) == ["It arrived."]


async def test_two_messages_with_the_same_text_both_arrive_although_a_response_was_lost(
    texting: Start, server: Twilio
) -> None:
    to = number()
    answers = iter([Reply(500, accepts=True), Reply(500, accepts=True)])
    server.reply = lambda _: next(answers, Reply())
    async with texting() as client:
        sent = [await client.post(TEST, json={"to": to, "body": "Hello"}, headers=ADMIN) for _ in range(2)]
        shown = [await ended(client, one.json()["delivery_id"]) for one in sent]

    assert [one["state"] for one in shown] == ["sent", "sent"]
    assert server.to(to) == ["Hello", "Hello"]


async def test_nothing_is_sent_again_while_twilio_does_not_say_what_it_has_sent(
    texting: Start, server: Twilio
) -> None:
    to = number()
    answers = iter([Reply(500, accepts=True)])
    server.reply, server.list_status = lambda _: next(answers, Reply()), 500
    async with texting() as client:
        sent = await client.post(TEST, json={"to": to, "body": "Hello"}, headers=ADMIN)
        path = f"/notifications/deliveries/{sent.json()['delivery_id']}"
        async with asyncio.timeout(SECONDS):
            while (await client.get(path, headers=ADMIN)).json()["attempts"] < 4:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        server.list_status = 200
        shown = await ended(client, sent.json()["delivery_id"])

    assert shown["state"] == "sent"
    assert server.to(to) == ["Hello"]


@pytest.mark.parametrize(
    ("code", "reason"), [(21211, "invalid"), (21610, "unsubscribed"), (21408, None), (None, None)]
)
async def test_refused_number_fails_once_and_is_suppressed_if_it_is_its_fault(
    client: httpx.AsyncClient, server: Twilio, code: int | None, reason: str | None
) -> None:
    to = number()
    server.reply = lambda _: Reply(400, code, accepts=False)
    first = await client.post(TEST, json={"to": to, "body": "Hello"}, headers=ADMIN)
    failed = await ended(client, first.json()["delivery_id"])
    server.reply = lambda _: Reply()
    second = await client.post(TEST, json={"to": to, "body": "Hello"}, headers=ADMIN)

    assert (failed["state"], failed["attempts"]) == ("failed", 1)
    assert failed["code"] == ("status_400" if code is None else f"twilio_{code}")
    assert second.json()["state"] == ("suppressed" if reason else "queued")
    listed = await client.get("/notifications/suppressions?channel=sms", headers=ADMIN)
    assert [one["reason"] for one in listed.json()] == ([reason] if reason else [])


async def test_limits_of_a_day_of_an_account_and_of_countries_hold(texting: Start, server: Twilio) -> None:
    to = number()
    async with texting(sms_per_number_daily=2, sms_daily_max=3, sms_prefixes=("+49", "+43")) as client:
        (_, mine), abroad = person(), "+15005550001"
        sent = [await client.post(TEST, json={"to": to, "body": "Hello"}, headers=ADMIN) for _ in range(3)]
        others = [
            await client.post(TEST, json={"to": one, "body": "Hello"}, headers=ADMIN)
            for one in (abroad, number())
        ]
        sixth = await client.post(TEST, json={"to": to, "body": "Hello"}, headers=ADMIN)
        refused = await client.put(PHONE, json={"number": abroad}, headers=mine)
        entered = [await client.put(PHONE, json={"number": number()}, headers=mine) for _ in range(2)]
        full = await client.put(PHONE, json={"number": number()}, headers=person()[1])
        shown = await ended(client, sent[2].json()["delivery_id"])

    assert [one.json()["state"] for one in sent] == ["queued", "queued", "suppressed"]
    assert [one.json()["state"] for one in others] == ["suppressed", "queued"]
    assert sixth.status_code == 429
    assert (shown["state"], shown["code"]) == ("suppressed", "too_many")
    assert (refused.status_code, refused.json()["code"]) == (409, "number_not_allowed")
    assert [one.status_code for one in (*entered, full)] == [200, 200, 429], "codes take at most half of all"


async def test_codes_that_a_stranger_requests_do_not_stop_the_messages_to_others(
    texting: Start, server: Twilio
) -> None:
    async with texting(sms_daily_max=14) as client:
        ann, _, to = await with_phone(client, server, "order.changed")
        (_, hers), (_, his) = person(), person()
        to_ann = [await client.put(PHONE, json={"number": to}, headers=hers) for _ in range(5)]
        to_all = [await client.put(PHONE, json={"number": number()}, headers=his) for _ in range(6)]
        await tell(client, placed(ann), stepped(ann, "confirmed", "shipped"))
        async with asyncio.timeout(SECONDS):  # not for the codes: a newer one cancels those that wait
            while not any(one.startswith("Your order is on its way") for one in server.to(to)):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    assert [one.status_code for one in to_ann] == [200] * 4 + [429], "five codes to one number"
    assert [one.status_code for one in to_all] == [200] * 2 + [429] * 4, "half of all messages"


async def test_account_may_request_five_codes_a_day(client: httpx.AsyncClient, database_url: str) -> None:
    me, mine = person()
    made = [await client.put(PHONE, json={"number": number()}, headers=mine) for _ in range(5)]
    shown = [row["id"] for row in table_of_deliveries(database_url) if row["user_id"] == me]
    for delivery_id in shown:
        await ended(client, delivery_id)
    age(database_url, shown[0], timedelta(hours=2))
    more = await client.put(PHONE, json={"number": number()}, headers=mine)
    age(database_url, shown[1], timedelta(hours=25))
    again = await client.put(PHONE, json={"number": number()}, headers=mine)

    assert [one.status_code for one in made] == [200] * 5
    assert (more.status_code, more.headers["Retry-After"]) == (429, "3600")
    assert again.status_code == 200


@pytest.mark.parametrize("is_removed", [True, False])
async def test_message_that_waits_for_the_end_of_quiet_hours_is_not_sent_to_a_phone_of_before(
    client: httpx.AsyncClient, server: Twilio, is_removed: bool
) -> None:
    me, mine, to = await with_phone(client, server, "order.changed")
    at = now()
    quiet = {"quiet_from": f"{at - timedelta(hours=2):%H:%M}", "quiet_to": f"{at + timedelta(hours=2):%H:%M}"}
    timed = await client.put("/notifications/preferences/mails", json=quiet, headers=mine)
    assert timed.status_code == 200, timed.text
    await tell(client, placed(me), stepped(me, "confirmed", "shipped"))
    (waiting, _) = (await client.get(f"/notifications/deliveries?user_id={me}", headers=ADMIN)).json()
    if is_removed:
        await client.delete(PHONE, headers=mine)
    else:
        await client.put(PHONE, json={"number": number()}, headers=mine)
    shown = await client.get(f"/notifications/deliveries/{waiting['id']}", headers=ADMIN)

    assert (waiting["state"], shown.json()["state"]) == ("queued", "cancelled")
    assert len(server.to(to)) == 1, "the code"


async def test_admin_suppresses_a_number_and_lifts_that(client: httpx.AsyncClient, server: Twilio) -> None:
    (_, mine), to = person(), number()
    paths = "/notifications/suppressions", "/notifications/suppressions/lift"
    added = await client.post(paths[0], json={"number": to, "days": 3}, headers=ADMIN)
    refused = await client.put(PHONE, json={"number": to}, headers=mine)
    lifted = [(await client.post(paths[1], json={"number": to}, headers=ADMIN)).json() for _ in range(2)]
    entered = await client.put(PHONE, json={"number": to}, headers=mine)
    both, none, bad = {"number": to, "email": "ann@example.com"}, dict[str, str](), {"number": "030"}
    wrong = [await client.post(one, json=body, headers=ADMIN) for one in paths for body in (both, none, bad)]

    assert (added.status_code, added.json()["channel"], added.json()["reason"]) == (201, "sms", "admin")
    assert (refused.status_code, refused.json()["code"], refused.json()["reason"]) == (
        409,
        "suppressed",
        "admin",
    )
    assert lifted == [{"was_suppressed": True}, {"was_suppressed": False}]
    assert entered.status_code == 200
    assert [one.status_code for one in wrong] == [422] * 6


def age(database_url: str, delivery_id: str, by: timedelta) -> None:
    """Make a delivery older than it is."""
    database = Database(database_url, pool_size=1)
    mine = DELIVERIES.c.id == delivery_id
    with database.transaction() as session:
        session.connection().execute(DELIVERIES.update().where(mine).values(id=first_id(now(), -by)))
    database.close()


async def test_only_admins_send_test_messages_and_only_people_enter_phones(
    client: httpx.AsyncClient, texting: Start, server: Twilio
) -> None:
    body = {"to": number(), "body": "Hello"}
    narrow = bearer(token(new_id(), role="admin", scope="notifications:write"))
    refused = [await client.post(TEST, json=body, headers=one) for one in ({}, person()[1], narrow)]
    assert [one.status_code for one in refused] == [401, 403, 403]
    assert (await client.get(PHONE, headers=narrow)).status_code == 403
    long = await client.post(TEST, json={**body, "body": "Ж" * 202}, headers=ADMIN)
    assert (long.status_code, long.json()["errors"][0]["field"]) == (422, "body")
    async with texting(sms_transport="none") as off:
        for answer in (
            await off.post(TEST, json=body, headers=ADMIN),
            await off.put(PHONE, json={"number": number()}, headers=person()[1]),
        ):
            assert (answer.status_code, answer.json()["code"]) == (409, "texts_are_off")


def test_lease_is_longer_than_the_wait_for_another_message_and_both_calls() -> None:
    claimed_per_place, calls = 2, 2  # a search and the sending
    assert claimed_per_place * calls < LEASE_TIMEOUTS


def test_half_an_account_at_twilio_is_refused(make_settings: Callable[..., Any]) -> None:
    for values in (
        {"twilio_account_sid": "AC1"},
        {"sms_transport": "twilio"},
        {"twilio_url": "ftp://example.com"},
        {"environment": "production", "key_secret": KEY_SECRET, "sms_transport": "file"},
        {"sms_prefixes": "49"},
    ):
        with pytest.raises(ValueError, match=r"TWILIO|twilio|sms|SMS|origin"):
            make_settings(Settings, **values)
