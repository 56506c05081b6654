"""Quiet hours and digests on ordinary days, and when clocks are changed.

Helsinki sets clocks forward on 29 March 2026 (3:00 → 4:00, at 01:00 UTC) and back on 25 October (4:00 → 3:00,
at 01:00 UTC); New York on 8 March (2:00 → 3:00, at 07:00 UTC) and 1 November (2:00 → 1:00, at 06:00 UTC).
"""

from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from services.notifications.timing import DEFAULT, Digest, Timing, zone_of

HELSINKI, NEW_YORK = "Europe/Helsinki", "America/New_York"
MINUTE = timedelta(minutes=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-{text}").replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "begins", "ends", "first", "end"),
    [
        # Ordinary nights: two and three hours before UTC in Helsinki, five and four after it in New York.
        (HELSINKI, "22:00", "07:00", "01-10 20:00", "01-11 05:00"),
        (HELSINKI, "22:00", "07:00", "07-10 19:00", "07-11 04:00"),
        (NEW_YORK, "22:00", "07:00", "01-11 03:00", "01-11 12:00"),
        (NEW_YORK, "22:00", "07:00", "07-11 02:00", "07-11 11:00"),
        # A siesta, and all but one minute of the day.
        (HELSINKI, "13:00", "14:30", "07-10 10:00", "07-10 11:30"),
        (NEW_YORK, "12:00", "11:59", "07-10 16:00", "07-11 15:59"),
        # Nights in which clocks are changed are an hour shorter or longer.
        (HELSINKI, "22:00", "07:00", "03-28 20:00", "03-29 04:00"),
        (HELSINKI, "22:00", "07:00", "10-24 19:00", "10-25 05:00"),
        (NEW_YORK, "22:00", "07:00", "03-08 03:00", "03-08 11:00"),
        (NEW_YORK, "22:00", "07:00", "11-01 02:00", "11-01 12:00"),
        # Times that are skipped are the moment of the change.
        (HELSINKI, "22:00", "03:30", "03-28 20:00", "03-29 01:00"),
        (HELSINKI, "03:30", "07:00", "03-29 01:00", "03-29 04:00"),
        (NEW_YORK, "22:00", "02:30", "03-08 03:00", "03-08 07:00"),
        (NEW_YORK, "02:30", "07:00", "03-08 07:00", "03-08 11:00"),
        # Times that occur twice: quiet hours begin at the first and end at the second.
        (HELSINKI, "22:00", "03:30", "10-24 19:00", "10-25 01:30"),
        (HELSINKI, "03:30", "07:00", "10-25 00:30", "10-25 05:00"),
        (NEW_YORK, "22:00", "01:30", "11-01 02:00", "11-01 06:30"),
        (NEW_YORK, "01:30", "07:00", "11-01 05:30", "11-01 12:00"),
    ],
)
def test_quiet_hours_begin_and_end_by_the_local_clock(
    zone: str, begins: str, ends: str, first: str, end: str
) -> None:
    timing = Timing(begins, ends, zone)

    assert timing.quiet_until(utc(first) - MINUTE) is None
    for moment in (utc(first), utc(first) + (utc(end) - utc(first)) / 2, utc(end) - MINUTE):
        assert timing.quiet_until(moment) == timing.after_quiet(moment) == utc(end)
    assert timing.quiet_until(utc(end)) is None
    assert timing.after_quiet(utc(end)) == utc(end)


def test_equal_times_mean_no_quiet_hours() -> None:
    for moment in (utc("01-10 00:00"), utc("07-10 12:00")):
        assert DEFAULT.quiet_until(moment) is None
        assert Timing("09:00", "09:00", HELSINKI).quiet_until(moment) is None


@pytest.mark.parametrize("zone", [HELSINKI, NEW_YORK])
def test_no_hour_of_a_year_is_quiet_against_the_local_clock(zone: str) -> None:
    timing, moment = Timing("22:00", "07:00", zone), utc("01-01 00:30")
    for _ in range(365 * 24):
        hour = moment.astimezone(zone_of(zone)).hour
        assert (timing.quiet_until(moment) is not None) == (hour >= 22 or hour < 7), moment
        moment += timedelta(hours=1)


@pytest.mark.parametrize(
    ("zone", "digest", "gathered", "due"),
    [
        (HELSINKI, Digest.HOUR, "07-10 10:20", "07-10 11:00"),
        (HELSINKI, Digest.HOUR, "07-10 11:00", "07-10 12:00"),
        ("Asia/Kolkata", Digest.HOUR, "07-10 10:20", "07-10 10:30"),
        (HELSINKI, Digest.HOUR, "03-29 00:59", "03-29 01:00"),
        (HELSINKI, Digest.HOUR, "10-25 00:59", "10-25 01:00"),
        (HELSINKI, Digest.DAY, "07-10 04:59", "07-10 05:00"),
        (HELSINKI, Digest.DAY, "07-10 05:00", "07-11 05:00"),
        (HELSINKI, Digest.DAY, "03-28 07:00", "03-29 05:00"),  # 23 hours after the one before
        (HELSINKI, Digest.DAY, "10-24 06:00", "10-25 06:00"),
        (NEW_YORK, Digest.DAY, "03-07 13:00", "03-08 12:00"),
        (NEW_YORK, Digest.DAY, "10-31 12:30", "11-01 13:00"),
    ],
)
def test_digest_is_sent_at_the_full_hour_or_at_8_in_the_morning(
    zone: str, digest: Digest, gathered: str, due: str
) -> None:
    assert Timing(zone=zone, digest=digest).next_digest(utc(gathered)) == utc(due)


def test_digest_waits_for_the_end_of_quiet_hours() -> None:
    late = Timing("22:00", "09:30", HELSINKI, Digest.DAY)
    hourly = Timing("22:00", "07:00", HELSINKI, Digest.HOUR)

    assert late.next_digest(utc("07-10 20:00")) == utc("07-11 06:30")
    assert hourly.next_digest(utc("07-10 18:30")) == utc("07-11 04:00"), "22:00 is quiet already"
    assert hourly.next_digest(utc("07-10 17:30")) == utc("07-10 18:00")


@pytest.mark.parametrize("name", ["Europe/Nowhere", "../../etc/passwd", "Europe", "/etc/localtime", ""])
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="time zone"):
        zone_of(name)


def test_stored_zone_that_this_image_does_not_know_counts_as_utc_and_is_logged_once() -> None:
    unknown = Timing("22:00", "07:00", "Nowhere/Logged_once", Digest.DAY)
    usual = Timing("22:00", "07:00", "UTC", Digest.DAY)
    at = utc("07-10 23:00")
    with capture_logs() as logs:
        assert unknown.quiet_until(at) == usual.quiet_until(at) == utc("07-11 07:00")
        assert unknown.next_digest(at) == usual.next_digest(at) == utc("07-11 08:00")

    assert [(one["event"], one["zone"]) for one in logs] == [("time_zone_unknown", "Nowhere/Logged_once")]
