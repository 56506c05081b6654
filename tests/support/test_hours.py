"""Working hours: due times are counted in them, also on the days on which the clocks change."""

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from services.support import due
from services.support.hours import Hours, hours_of
from services.support.models import Ticket
from services.support.settings import Settings
from services.support.states import Status

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
WEEK = "Mon-Fri 09:00-12:30, Mon-Thu 13:00-17:00, Sat 01:30-04:00, Sun 22:00-24:00"


def at(zone: str, day: int, hour: int, minute: int = 0, month: int = 3) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=ZoneInfo(zone)).astimezone(UTC)


@pytest.mark.parametrize(("zone", "sunday", "month"), [("Europe/Berlin", 29, 3), ("America/New_York", 1, 11)])
def test_hours_keep_to_the_wall_clock_when_the_clocks_change(zone: str, sunday: int, month: int) -> None:
    hours = hours_of("Mon-Fri 08:00-18:00", zone, "")
    before = at(zone, sunday, 20, month=month) - timedelta(days=2)  # Friday evening
    monday = at(zone, sunday, 20, month=month) - 12 * HOUR + timedelta(days=1)
    assert hours.shift(before, HOUR) == at(zone, sunday, 9, month=month) + timedelta(days=1)
    assert hours.between(before, monday + HOUR) == HOUR
    around = hours_of("Mon-Sun 00:00-24:00", zone, "")
    assert around.shift(before, 72 * HOUR) == before + 72 * HOUR


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"])
def test_every_minute_is_counted_like_on_a_clock(zone: str) -> None:
    hours, chance = hours_of(WEEK, zone, "2026-03-31"), random.Random(zone)
    start = at(zone, 26, 0)
    minutes = [start + n * MINUTE for n in range(6 * 24 * 60)]
    working = [is_open(hours, minute) for minute in minutes]
    for _ in range(40):
        first, last = sorted(chance.sample(range(len(minutes)), 2))
        count = sum(working[first:last])
        assert hours.between(minutes[first], minutes[last]) == count * MINUTE
        if count:
            later = hours.shift(minutes[first], count * MINUTE)
            assert hours.between(minutes[first], later) == count * MINUTE
            assert later <= minutes[last]
            assert hours.between(hours.shift(minutes[last], -count * MINUTE), minutes[last]) == count * MINUTE


def is_open(hours: Hours, moment: datetime) -> bool:
    """Whether staff work in this minute, by the hands of the clock."""
    wall = moment.astimezone(hours.zone)
    since_midnight = timedelta(hours=wall.hour, minutes=wall.minute)
    spans = () if wall.date() in hours.holidays else hours.week[wall.weekday()]
    return any(begin <= since_midnight < end for begin, end in spans)


def test_due_times_of_a_ticket_are_counted_in_working_hours() -> None:
    settings = Settings.model_validate(
        {
            "support_hours": "Mon-Fri 08:00-18:00",
            "support_timezone": "Europe/Berlin",
            "support_holidays": "2026-03-30",
        }
    )
    friday = at("Europe/Berlin", 27, 17, 30)
    ticket = Ticket(
        number="1",
        user_id="me",
        subject="S",
        description="D",
        priority="high",
        created=friday,
        first_reply_due=friday,
        resolve_due=friday,
    )
    due.set_due(ticket, settings)
    assert ticket.first_reply_due == at("Europe/Berlin", 31, 11, 30)  # 30 minutes on Friday; Monday is off
    due.change_priority(ticket, "urgent", settings, friday)
    assert ticket.first_reply_due == at("Europe/Berlin", 31, 8, 30)
    assert ticket.resolve_due == at("Europe/Berlin", 31, 15, 30)
    ticket.status = Status.WAITING
    due.follow_status(ticket, Status.OPEN, settings, friday)
    ticket.status = Status.OPEN
    due.follow_status(ticket, Status.WAITING, settings, at("Europe/Berlin", 31, 9))
    assert ticket.resolve_due == at(
        "Europe/Berlin", 31, 17
    )  # an hour and a half of the wait were working hours


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"support_hours": "weekdays"}, "SUPPORT_HOURS must be like"),
        ({"support_hours": "Mon-Fry 08:00-18:00"}, "SUPPORT_HOURS must be like"),
        ({"support_hours": "Mon-Fri 08:00-24:30"}, "SUPPORT_HOURS must be like"),
        ({"support_hours": "Mon-Fri 18:00-08:00"}, "end after they begin"),
        ({"support_hours": "Mon-Fri 08:00-12:00, Fri 11:00-13:00"}, "the same hour of a day twice"),
        ({"support_hours": "Mon 08:00-09:00"}, "at least five hours a week"),
        ({"support_timezone": "Mars/Base"}, "SUPPORT_TIMEZONE: 'Mars/Base' is not a known time zone"),
        ({"support_holidays": "25.12.2026"}, "SUPPORT_HOLIDAYS must be days such as"),
    ],
)
def test_settings_that_make_no_sense_are_refused_at_the_start(given: dict[str, str], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Settings.model_validate(given)
