"""Times of a cron schedule, across daylight-saving changes, and the errors for invalid ones."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from shared.work.cron import Cron, Every
from shared.work.cron_setting import CronSetting


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "zone", "now", "following"),
    [
        ("0 */6 * * *", "UTC", "2026-11-27T08:30", ["2026-11-27T12:00", "2026-11-27T18:00"]),
        ("0 */6 * * *", "UTC", "2026-11-27T12:00", ["2026-11-27T18:00"]),
        ("0 6 * * MON", "Europe/Berlin", "2026-11-27T08:30", ["2026-11-30T05:00", "2026-12-07T05:00"]),
        ("0 0 29 2 *", "UTC", "2026-11-27T08:30", ["2028-02-29T00:00"]),
        ("0 8 L * *", "UTC", "2026-02-01T00:00", ["2026-02-28T08:00", "2026-03-31T08:00"]),
        # Clocks go forward at 02:00: 02:30 does not exist, so the schedule runs right after.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", ["2026-03-29T01:00", "2026-03-30T00:30"]),
        # Clocks go back at 03:00: 02:30 occurs twice, but the schedule runs once.
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", ["2026-10-25T00:30", "2026-10-26T01:30"]),
        # An hourly schedule runs every elapsed hour.
        ("0 * * * *", "Europe/Berlin", "2026-10-24T23:30", [f"2026-10-25T0{hour}:00" for hour in range(4)]),
    ],
)
def test_schedule_gives_the_right_times(expression: str, zone: str, now: str, following: list[str]) -> None:
    cron, moment, found = Cron(expression, zone), at(now), []
    for _ in following:
        moment = cron.next_after(moment)
        found.append(moment)

    assert found == [at(one) for one in following]


@given(st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)), st.sampled_from(["UTC", "America/New_York"]))  # noqa: DTZ001
def test_next_time_of_a_daily_schedule_is_within_25_hours(moment: datetime, zone: str) -> None:
    at = moment.replace(tzinfo=UTC)
    pause = Cron("17 3 * * *", zone).next_after(at) - at

    assert timedelta(0) < pause <= timedelta(hours=25)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("", "five fields such as"),
        ("* * * *", "five fields such as"),
        ("0 * * * * *", "five fields such as"),
        ("* " * 1000, "five fields such as"),
        ("61 * * * *", "Bad minute in `61"),
        ("0 0 32 * *", "Bad day-of-month"),
        ("0 0 31 2 *", "Bad day-of-month"),
        ("0 0 * * FUNDAY", "Bad day-of-week"),
        ("*/0 * * * *", "Bad minute"),
    ],
)
def test_invalid_schedule_is_refused_with_the_reason(expression: str, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("`", ".")):
        Cron(expression)


@pytest.mark.parametrize("zone", ["Mars/Base", "../etc/passwd", "", "Europe", "x\x00y"])
def test_unknown_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(ValueError, match="is not a known time zone; use one such as Europe/Berlin"):
        Cron("0 0 * * *", zone)


def test_setting_accepts_a_schedule_or_an_empty_string() -> None:
    class Settings(BaseModel):
        sync_schedule: CronSetting = ""

    assert Settings(sync_schedule="0 6 * * *").sync_schedule == "0 6 * * *"
    assert Settings(sync_schedule="").sync_schedule == ""
    with pytest.raises(ValidationError, match="Bad hour in `0 25"):
        Settings(sync_schedule="0 25 * * *")


def test_interval_adds_its_seconds() -> None:
    assert Every(90).next_after(at("2026-11-27T08:30")) == at("2026-11-27T08:31:30")
    assert (str(Every(60)), str(Cron("0 6 * * *"))) == ("every 60 s", "0 6 * * * UTC")
