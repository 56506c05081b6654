"""Due times: the clock stops while a ticket waits, and a time that has passed is reported once."""

from contextlib import closing
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from contracts.support import TicketOverdue
from services.support import due, duties
from services.support.models import EVENTS, Ticket
from services.support.settings import Settings
from services.support.states import Status
from shared.data.database import Database
from shared.events.outbox import OUTBOX, Outbox
from tests.support.people import TICKETS, People
from tests.told import events

BEGIN = datetime(2026, 1, 31, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def ticket(settings: Settings) -> Ticket:
    made = Ticket(
        number="1",
        user_id="me",
        subject="S",
        description="D",
        priority="urgent",
        created=BEGIN,
        first_reply_due=BEGIN,
        resolve_due=BEGIN,
    )
    due.set_due(made, settings)
    due.watch(made, BEGIN)
    return made


def follow(ticket: Ticket, to: Status, settings: Settings, moment: datetime) -> None:
    before, ticket.status = ticket.status, to
    due.follow_status(ticket, before, settings, moment)
    due.watch(ticket, moment)


def test_due_times_follow_from_the_priority(ticket: Ticket) -> None:
    assert (ticket.first_reply_due, ticket.resolve_due) == (BEGIN + HOUR, BEGIN + 8 * HOUR)
    assert ticket.watch_at == BEGIN + HOUR


def test_waiting_for_the_owner_stops_the_time(ticket: Ticket, settings: Settings) -> None:
    ticket.first_replied = BEGIN
    follow(ticket, Status.WAITING, settings, BEGIN + HOUR)
    assert ticket.watch_at is None
    follow(ticket, Status.OPEN, settings, BEGIN + 11 * HOUR)
    assert ticket.resolve_due == ticket.watch_at == BEGIN + 18 * HOUR
    assert not ticket.is_overdue


def test_a_solved_ticket_is_not_overdue_and_a_reopened_one_starts_again(
    ticket: Ticket, settings: Settings
) -> None:
    ticket.first_replied = BEGIN
    late = BEGIN + 9 * HOUR
    assert due.passed(ticket, late) == [due.RESOLVE]
    assert ticket.is_overdue
    follow(ticket, Status.RESOLVED, settings, late)
    assert not ticket.is_overdue
    assert ticket.watch_at is None
    follow(ticket, Status.OPEN, settings, late + HOUR)
    assert ticket.resolve_due == ticket.watch_at == late + 9 * HOUR


def test_each_due_time_is_reported_once(ticket: Ticket) -> None:
    assert due.passed(ticket, BEGIN) == []
    assert due.passed(ticket, BEGIN + 2 * HOUR) == [due.FIRST_REPLY]
    assert ticket.watch_at == BEGIN + 8 * HOUR
    assert due.passed(ticket, BEGIN + 9 * HOUR) == [due.RESOLVE]
    assert due.passed(ticket, BEGIN + 99 * HOUR) == []
    assert ticket.is_overdue
    assert ticket.watch_at is None


def test_a_lower_priority_moves_the_due_times_and_ends_being_overdue(
    ticket: Ticket, settings: Settings
) -> None:
    moment = BEGIN + 9 * HOUR
    assert due.passed(ticket, moment) == [due.FIRST_REPLY, due.RESOLVE]
    due.change_priority(ticket, "low", settings, moment)
    due.watch(ticket, moment)
    assert not ticket.is_overdue
    assert ticket.watch_at == ticket.first_reply_due == BEGIN + 48 * HOUR


def test_due_time_is_reported_again_after_the_priority_changed_while_the_clock_stood_still(
    ticket: Ticket, settings: Settings
) -> None:
    ticket.first_replied = BEGIN
    assert due.passed(ticket, BEGIN + 8 * HOUR) == [due.RESOLVE]
    follow(ticket, Status.WAITING, settings, BEGIN + 9 * HOUR)
    due.change_priority(ticket, "high", settings, BEGIN + 30 * HOUR)
    due.watch(ticket, BEGIN + 30 * HOUR)
    assert (ticket.is_overdue, ticket.watch_at) == (False, None)
    follow(ticket, Status.OPEN, settings, BEGIN + 40 * HOUR)
    assert ticket.resolve_due == ticket.watch_at == BEGIN + 55 * HOUR
    assert due.passed(ticket, BEGIN + 55 * HOUR) == [due.RESOLVE]


def test_a_ticket_reopened_before_the_first_reply_gets_a_new_time_for_it(
    ticket: Ticket, settings: Settings
) -> None:
    assert due.passed(ticket, BEGIN + HOUR) == [due.FIRST_REPLY]
    follow(ticket, Status.RESOLVED, settings, BEGIN + HOUR)
    follow(ticket, Status.OPEN, settings, BEGIN + 48 * HOUR)
    assert ticket.first_reply_due == ticket.watch_at == BEGIN + 49 * HOUR
    assert not ticket.is_overdue
    assert due.passed(ticket, BEGIN + 49 * HOUR) == [due.FIRST_REPLY]


def test_waiting_does_not_stop_the_time_until_the_first_reply(ticket: Ticket, settings: Settings) -> None:
    follow(ticket, Status.WAITING, settings, BEGIN + HOUR / 2)
    assert ticket.watch_at == BEGIN + HOUR
    assert due.passed(ticket, BEGIN + 10 * HOUR) == [due.FIRST_REPLY]
    assert ticket.is_overdue
    follow(ticket, Status.OPEN, settings, BEGIN + 48 * HOUR)
    assert due.passed(ticket, BEGIN + 48 * HOUR) == []


def test_due_time_that_passed_before_the_clock_stopped_is_still_reported(
    ticket: Ticket, settings: Settings
) -> None:
    ticket.first_replied = BEGIN
    follow(ticket, Status.WAITING, settings, BEGIN + 9 * HOUR)
    assert ticket.watch_at == BEGIN + 8 * HOUR
    assert due.passed(ticket, BEGIN + 10 * HOUR) == [due.RESOLVE]
    assert ticket.watch_at is None


async def test_the_duty_reports_overdue_tickets_once(
    people: People, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    overdue, answered = await people.open(priority="urgent"), await people.open(priority="urgent")
    await people.reply(answered, people.agent)
    database = Database(database_url, pool_size=1)
    database.session_info[OUTBOX] = Outbox(EVENTS, "support", {TicketOverdue.topic: ["listener"]})
    late = datetime.now(UTC) + 2 * HOUR
    monkeypatch.setattr(duties, "now", lambda: late)
    with closing(database):
        assert [duties.tell_passed(database) for _ in range(2)] == [1, 0]

    told = [one.data for one in events(database_url, EVENTS) if one.topic == "ticket.overdue"]
    assert [(one["ticket_id"], one["due"]) for one in told] == [(overdue["id"], "first_reply")]
    for who in (people.owner, people.agent):
        response: httpx.Response = await people.client.get(f"{TICKETS}?overdue=true", headers=who)
        assert [one["id"] for one in response.json()] == [overdue["id"]]
    await people.reply(overdue, people.agent)
    assert not (await people.show(overdue))["is_overdue"]
