"""Mails that wait for the end of quiet hours, and digests, with the database of the service."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from threading import Barrier, Thread
from typing import Any

import httpx
import pytest
from sqlalchemy import Table, select, update

from contracts.events import AccountDeleted
from services.notifications import courier, digests
from services.notifications.deliveries import State
from services.notifications.digests import ITEMS_MAX, Digests
from services.notifications.mail.mails import Mails
from services.notifications.models import DELIVERIES, DIGEST_ITEMS, PREFERENCES, WORK
from services.notifications.settings import Settings
from services.notifications.suppressions import Suppressions
from services.notifications.timing import Digest, Timing
from services.notifications.unsubscribing import Links
from shared.clock import now
from shared.data.database import Database
from shared.work.changes import Changes
from tests.notifications.support import ADMIN, account, is_usual, person, placed, stepped, tell
from tests.notifications.test_mails import asked

SECONDS = 60
PATH = "/notifications/preferences/mails"
HOURLY = {"digest": "hour"}


def quiet_now(hours: int = 2) -> dict[str, str]:
    """Return quiet hours in Helsinki that began an hour ago and last for some more hours."""
    at = now()
    return {
        "quiet_from": f"{_in_helsinki(at - timedelta(hours=1)):%H:%M}",
        "quiet_to": f"{_in_helsinki(at + timedelta(hours=hours)):%H:%M}",
        "zone": "Europe/Helsinki",
    }


def _hours_ago(hours: int) -> str:
    return f"{_in_helsinki(now() - timedelta(hours=hours)):%H:%M}"


def _in_helsinki(at: datetime) -> datetime:
    from services.notifications.timing import zone_of

    return at.astimezone(zone_of("Europe/Helsinki"))


class Killed(BaseException):
    """The process ends here."""


class Stored:
    """The database of the running service, and its digests as a second replica would make them."""

    def __init__(self, settings: Settings) -> None:
        self.database = Database(settings.database_url, pool_size=4)
        mails = Mails(settings, Changes(), Suppressions(settings))
        self.digests = Digests(mails, Links(settings), settings)

    def rows(self, table: Table) -> list[dict[str, Any]]:
        with self.database.transaction(write=False) as session:
            return [dict(row) for row in session.connection().execute(table.select()).mappings()]

    def waiting(self) -> list[str]:
        """Return the ids of mails and digests that wait; there is work of duties as well."""
        return [one["id"] for one in self.rows(WORK.work) if one["queue"] in ("mail", "digest")]

    def due(self, name: str) -> datetime:
        """Return when work is due."""
        with self.database.transaction(write=False) as session:
            found = select(WORK.work.c.due).where(WORK.work.c.id.like(f"%{name}"))
            due: datetime = session.connection().execute(found).scalar_one()
            return due

    def make_due(self, name: str) -> None:
        with self.database.transaction() as session:
            mine = update(WORK.work).where(WORK.work.c.id.like(f"%{name}"))
            session.connection().execute(mine.values(due=now() - timedelta(seconds=1)))

    async def put_off(self, name: str) -> None:
        """Wait until work that was due is put off."""
        async with asyncio.timeout(SECONDS):
            while not self._is_put_off(name):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    def _is_put_off(self, name: str) -> bool:
        found = [one for one in self.rows(WORK.work) if one["id"].endswith(name)]
        if not found:
            raise AssertionError("it has ended")
        return found[0]["lease"] is None and found[0]["due"] > now()

    def forget_zone(self, user_id: str) -> None:
        """Store a time zone that only another image knows."""
        with self.database.transaction() as session:
            mine = update(PREFERENCES).where(PREFERENCES.c.user_id == user_id)
            session.connection().execute(mine.values(zone="Nowhere/Now"))

    def send(self) -> None:
        self.digests.send_due(self.database, lambda: False)


@pytest.fixture
def stored(settings: Settings, client: httpx.AsyncClient) -> Any:
    made = Stored(settings)
    yield made
    made.database.close()


async def begin(client: httpx.AsyncClient, **timing: str) -> tuple[str, dict[str, str]]:
    """Create an account with a confirmed address and this timing of its mails."""
    user_id, mine = person()
    await tell(client, account(user_id, email_verified=True))
    changed = await client.put(PATH, json=timing, headers=mine)
    assert changed.status_code == 200, changed.text
    return user_id, mine


async def ended(client: httpx.AsyncClient, user_id: str, number: int = 1) -> list[dict[str, Any]]:
    """Wait until mails of an account have ended, and return all of them."""
    async with asyncio.timeout(SECONDS):
        while True:
            listed = await client.get(f"/notifications/deliveries?user_id={user_id}", headers=ADMIN)
            found: list[dict[str, Any]] = listed.json()
            if sum(one["finished"] is not None for one in found) >= number:
                return found
            await asyncio.sleep(0.02)


def mail_of(settings: Settings, delivery: dict[str, Any]) -> EmailMessage:
    (file,) = (settings.data_dir / "mail").glob(f"{delivery['id']}-*.eml")
    mail = message_from_bytes(file.read_bytes(), policy=policy.default)
    assert isinstance(mail, EmailMessage)
    return mail


async def test_preferences_show_when_mails_arrive_and_keep_the_choices(client: httpx.AsyncClient) -> None:
    _, mine = person()
    wanted = {"quiet_from": "22:00", "quiet_to": "07:00", "zone": "America/New_York"}
    wanted |= {"digest": "day", "language": "de-AT"}
    off = {"choices": [{"type": "order.placed", "channel": "email", "on": False}]}
    usual = (await client.get("/notifications/preferences", headers=mine)).json()["mails"]
    await client.put("/notifications/preferences", json=off, headers=mine)
    changed = (await client.put(PATH, json=wanted, headers=mine)).json()
    shown = (await client.get("/notifications/preferences", headers=mine)).json()

    times = {"quiet_from": "00:00", "quiet_to": "00:00"}
    assert usual == {**times, "zone": "UTC", "digest": "none", "language": None}
    assert shown == changed
    assert shown["mails"] == wanted
    assert sum(not one["on"] for one in shown["choices"] if is_usual(one)) == 1
    assert (await client.put(PATH, json={}, headers=mine)).json()["mails"] == usual


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("quiet_from", "24:00"),
        ("quiet_from", "7:00"),
        ("quiet_to", "07:60"),
        ("quiet_to", None),
        ("quiet_to", "07:00\n"),
        ("zone", "Europe/Nowhere"),
        ("zone", "../etc/passwd"),
        ("digest", "week"),
        ("language", "german!"),
        ("language", "de-" + "x" * 40),
        ("language", "de\n"),
        ("hours", 7),
    ],
)
async def test_what_cannot_be_is_refused_with_422(client: httpx.AsyncClient, field: str, value: Any) -> None:
    refused = await client.put(PATH, json={field: value}, headers=person()[1])

    assert refused.status_code == 422
    assert [one["field"] for one in refused.json()["errors"]] == [field]


async def test_mail_waits_until_quiet_hours_end_but_one_about_security_does_not(
    client: httpx.AsyncClient, stored: Stored
) -> None:
    quiet = quiet_now()
    user_id, mine = await begin(client, **quiet)
    await tell(client, placed(user_id))
    security = asked(f"{user_id[-6:]}@example.com", account_id=user_id)
    await tell(client, security)
    first, second = await ended(client, user_id)
    (end,) = [one["planned"] for one in stored.rows(DELIVERIES) if one["template"] == "notice"]

    states = {one["template"]: one["state"] for one in (first, second)}
    assert states == {"reset_password": "sent", "notice": "queued"}
    assert f"{_in_helsinki(end):%H:%M}" == quiet["quiet_to"]
    waiting = first if first["template"] == "notice" else second
    assert abs(stored.due(waiting["id"]) - end) < timedelta(seconds=5)

    await client.put(PATH, json=quiet_now(hours=4), headers=mine)  # longer, so it waits again
    stored.make_due(waiting["id"])
    async with asyncio.timeout(SECONDS):
        while stored.due(waiting["id"]) < end:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert stored.due(waiting["id"]) > end + timedelta(hours=1)
    await client.put(PATH, json={}, headers=mine)
    stored.make_due(waiting["id"])
    shown = await ended(client, user_id, 2)
    assert {(one["state"], one["attempts"]) for one in shown} == {("sent", 1)}


async def test_mail_of_a_killed_attempt_waits_as_queued_in_quiet_hours(
    client: httpx.AsyncClient, stored: Stored
) -> None:
    user_id, _ = await begin(client, **quiet_now())
    await tell(client, placed(user_id))
    (held,) = stored.rows(DELIVERIES)
    with stored.database.transaction() as session:
        session.connection().execute(update(DELIVERIES).values(state=State.SENDING))
    stored.make_due(held["id"])

    await stored.put_off(held["id"])
    assert [row["state"] for row in stored.rows(DELIVERIES)] == ["queued"]


async def test_mail_with_a_template_of_a_newer_version_waits_for_its_replicas(
    client: httpx.AsyncClient, stored: Stored
) -> None:
    user_id, mine = await begin(client, **quiet_now())
    await tell(client, placed(user_id))
    (held,) = stored.rows(DELIVERIES)
    await client.put(PATH, json={}, headers=mine)
    with stored.database.transaction() as session:
        session.connection().execute(update(DELIVERIES).values(template="newer"))
    stored.make_due(held["id"])

    await stored.put_off(held["id"])
    (waiting,) = stored.rows(DELIVERIES)
    assert (waiting["state"], waiting["attempts"], waiting["code"]) == ("queued", 0, None)
    assert waiting["planned"] == held["planned"], "it must still become too old"
    with stored.database.transaction() as session:
        session.connection().execute(update(DELIVERIES).values(template="notice"))
    stored.make_due(held["id"])
    assert [one["state"] for one in await ended(client, user_id)] == ["sent"]


async def test_quiet_hours_follow_the_clock_of_the_database(
    client: httpx.AsyncClient, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "now", lambda: now() - timedelta(hours=2))  # the replica's clock is late
    user_id, _ = await begin(client, **quiet_now(hours=-1) | {"quiet_from": _hours_ago(3)})
    await tell(client, placed(user_id))

    assert [one["state"] for one in await ended(client, user_id)] == ["sent"]


async def test_digest_gathers_notifications_in_one_mail(
    client: httpx.AsyncClient, stored: Stored, settings: Settings
) -> None:
    user_id, mine = await begin(client, **HOURLY)
    await tell(
        client, placed(user_id, product_name="Laptop\n\nBag"), stepped(user_id, "pending", "confirmed")
    )
    await tell(client, stepped(user_id, "confirmed", "shipped"))
    hour = (now() + timedelta(hours=1)).replace(minute=0, second=0, microsecond=0)
    assert stored.due(user_id) in (hour, hour - timedelta(hours=1)), "the hour may have just begun"
    assert stored.rows(DELIVERIES) == []
    stored.send()  # it is not due yet
    assert len(stored.rows(DIGEST_ITEMS)) == 3

    off = {"choices": [{"type": "order.placed", "channel": "email", "on": False}]}
    await client.put("/notifications/preferences", json=off, headers=mine)
    stored.make_due(user_id)
    stored.send()
    stored.send()
    (shown,) = await ended(client, user_id)
    mail = mail_of(settings, shown)
    body = mail.get_body(("plain",))
    assert body is not None

    assert mail["Subject"] == "2 notifications"
    text = body.get_content()
    assert text.index("Your order is confirmed") < text.index("Your order is on its way")
    assert "Your order was placed" not in text, "it was switched off meanwhile"
    assert (stored.rows(DIGEST_ITEMS), stored.waiting()) == ([], [])
    path = str(mail["List-Unsubscribe"]).strip("<>").removeprefix(settings.origin)
    assert (await client.post(path)).status_code == 200
    choices = (await client.get("/notifications/preferences", headers=mine)).json()["choices"]
    assert all(one["on"] == one["fixed"] for one in choices if one["channel"] == "email")


async def test_digest_and_what_it_gathers_are_in_the_language_of_its_reader(
    client: httpx.AsyncClient, stored: Stored, settings: Settings
) -> None:
    user_id, _ = await begin(client, **HOURLY, language="de")
    await tell(client, placed(user_id), stepped(user_id, "pending", "confirmed"))
    stored.make_due(user_id)
    stored.send()
    (shown,) = await ended(client, user_id)
    mail = mail_of(settings, shown)
    body = mail.get_body(("plain",))
    assert body is not None

    assert (mail["Subject"], shown["language"]) == ("2 Benachrichtigungen", "de")
    assert "Sie haben bestellt: Laptop, Menge 2." in body.get_content()
    assert "Ihre Bestellung wurde bestätigt" in body.get_content()


async def test_long_digest_says_that_there_is_more_and_is_still_one_mail(
    client: httpx.AsyncClient, stored: Stored, settings: Settings
) -> None:
    user_id, _ = await begin(client, digest="day")
    events = [placed(user_id, product_name=f"Item {number:02}") for number in range(ITEMS_MAX + 5)]
    await tell(client, *events[:30])
    await tell(client, *events[30:])
    assert len(stored.rows(DIGEST_ITEMS)) == ITEMS_MAX + 1
    stored.make_due(user_id)
    stored.send()
    (shown,) = await ended(client, user_id)
    mail = mail_of(settings, shown)
    body = mail.get_body(("plain",))
    assert body is not None

    assert mail["Subject"] == f"More than {ITEMS_MAX} notifications"
    assert "Item 49" in body.get_content()
    assert "Item 50" not in body.get_content()
    assert stored.rows(DIGEST_ITEMS) == []


async def test_digest_that_is_due_in_quiet_hours_waits_for_their_end(
    client: httpx.AsyncClient, stored: Stored
) -> None:
    user_id, mine = await begin(client, **HOURLY)
    await tell(client, placed(user_id))
    await client.put(PATH, json={**quiet_now(), **HOURLY}, headers=mine)
    stored.make_due(user_id)
    stored.send()

    assert stored.due(user_id) > now() + timedelta(hours=1)
    assert len(stored.rows(DIGEST_ITEMS)) == 1


async def test_replica_that_dies_while_it_makes_a_digest_loses_and_repeats_nothing(
    client: httpx.AsyncClient, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id, _ = await begin(client, **HOURLY)
    await tell(client, placed(user_id))
    stored.make_due(user_id)

    def die(_name: str) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(digests, "reached", die)
        with pytest.raises(Killed):
            stored.send()
    assert stored.rows(DELIVERIES) == []
    assert len(stored.rows(DIGEST_ITEMS)) == 1
    stored.make_due(user_id)
    stored.send()
    assert len(await ended(client, user_id)) == 1


async def test_unknown_time_zone_of_one_person_stops_no_mails_of_others(
    client: httpx.AsyncClient, stored: Stored
) -> None:
    (one, _), (other, theirs) = [await begin(client, **quiet_now()) for _ in range(2)]
    await tell(client, placed(one), placed(other))
    stored.forget_zone(one)
    await client.put(PATH, json={}, headers=theirs)
    for row in sorted(stored.rows(DELIVERIES), key=lambda row: row["user_id"] != one):
        stored.make_due(row["id"])  # that of the unknown zone first

    assert [each["state"] for each in await ended(client, other)] == ["sent"]


async def test_unknown_time_zone_of_one_person_stops_no_digests_of_others(
    client: httpx.AsyncClient, stored: Stored
) -> None:
    (one, _), (other, _) = [await begin(client, **HOURLY, quiet_from="01:00") for _ in range(2)]
    await tell(client, placed(one), placed(other))
    stored.forget_zone(one)
    for user_id in (one, other):
        stored.make_due(user_id)
    with stored.database.transaction() as session:  # no quiet hours for the other, whatever time it is
        theirs = update(PREFERENCES).where(PREFERENCES.c.user_id == other)
        session.connection().execute(theirs.values(quiet_from="00:00"))
    stored.send()

    assert [each["template"] for each in await ended(client, other)] == ["digest"]


async def test_digest_that_fails_is_tried_again_later_and_stops_no_others(
    client: httpx.AsyncClient, stored: Stored
) -> None:
    (one, _), (other, _) = [await begin(client, **HOURLY) for _ in range(2)]
    await tell(client, placed(one), placed(other))
    with stored.database.transaction() as session:
        mine = update(DIGEST_ITEMS).where(DIGEST_ITEMS.c.user_id == one)
        session.connection().execute(mine.values(type="of.another.version"))
    for user_id in (one, other):
        stored.make_due(user_id)
    stored.send()

    assert [each["template"] for each in await ended(client, other)] == ["digest"]
    assert stored.due(one) > now() + timedelta(minutes=4)
    assert [row["user_id"] for row in stored.rows(DIGEST_ITEMS)] == [one]


async def test_two_replicas_make_one_digest(client: httpx.AsyncClient, stored: Stored) -> None:
    people = [(await begin(client, **HOURLY))[0] for _ in range(5)]
    for user_id in people:
        await tell(client, placed(user_id))
        stored.make_due(user_id)
    begun = Barrier(3)

    def send() -> None:
        begun.wait(SECONDS)
        stored.send()

    threads = [Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join, SECONDS)

    for user_id in people:
        assert [one["template"] for one in await ended(client, user_id)] == ["digest"]


async def test_transactions_that_gather_for_the_same_people_in_other_orders_do_not_deadlock(
    client: httpx.AsyncClient, stored: Stored
) -> None:
    people = [(await begin(client, **HOURLY))[0] for _ in range(2)]
    # SQLite has one writer, so there the second transaction begins after the first.
    between = Barrier(1 if stored.database.is_sqlite else 2)
    item = {"type": "order.placed", "title": "Placed", "content": "A laptop.", "url": None, "expires": None}
    failed = list[BaseException]()

    def gather(order: list[str]) -> None:
        try:
            with stored.database.transaction() as session:
                for user_id in order:
                    stored.digests.gather(session, user_id, Timing(digest=Digest.HOUR), [item])
                    between.wait(SECONDS)
        except BaseException as error:  # noqa: BLE001 - shown by the test
            failed.append(error)

    threads = [Thread(target=gather, args=(order,)) for order in (people, people[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join, SECONDS)

    assert failed == []
    assert sorted(row["user_id"] for row in stored.rows(DIGEST_ITEMS)) == sorted(people * 2)


async def test_deleted_account_gets_no_digest_and_nothing_of_it_stays(
    client: httpx.AsyncClient, stored: Stored
) -> None:
    user_id, _ = await begin(client, **HOURLY)
    await tell(client, placed(user_id))
    await tell(client, AccountDeleted(account_id=user_id, deleted=now()))
    await tell(client, placed(user_id))
    assert stored.rows(DIGEST_ITEMS) == []
    stored.make_due(user_id)
    stored.send()

    assert (stored.rows(DELIVERIES), stored.waiting()) == ([], [])


async def test_mails_held_longer_than_mails_are_kept_are_still_sent(
    make_settings: Callable[..., Any], client: httpx.AsyncClient, stored: Stored
) -> None:
    user_id, mine = await begin(client, **quiet_now())
    await tell(client, placed(user_id))
    (held,) = stored.rows(DELIVERIES)
    with stored.database.transaction() as session:
        old = {"created": now() - timedelta(days=4), "planned": now() - timedelta(seconds=1)}
        session.connection().execute(update(DELIVERIES).values(old))
    await client.put(PATH, json={}, headers=mine)
    stored.make_due(held["id"])

    assert [one["state"] for one in await ended(client, user_id)] == ["sent"]
