"""The hours in which staff work, in which the due times of tickets are counted.

Times are worked out on the wall clock of the time zone, and counted in real minutes: on a day on which the
clocks change, hours that span the change are longer or shorter by it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LEAST_A_WEEK = timedelta(hours=5)  # so that every due time is found after a bounded number of days
HOLIDAYS_MAX = 200
_ENTRY = re.compile(r"([a-z]{3})(?:-([a-z]{3}))? (\d\d):(\d\d)-(\d\d):(\d\d)")
_FORM = 'SUPPORT_HOURS must be like "Mon-Fri 08:00-18:00, Sat 09:00-13:00"'
_ONE_DAY = timedelta(days=1)

Span = tuple[timedelta, timedelta]  # from and to, counted from midnight


@dataclass(frozen=True)
class Hours:
    """The spans of each day of the week; without any, every minute counts."""

    week: tuple[tuple[Span, ...], ...]
    zone: ZoneInfo
    holidays: frozenset[date]

    def shift(self, moment: datetime, by: timedelta) -> datetime:
        """Return the moment that is so much working time later, or earlier if `by` is negative."""
        if not any(self.week):
            return moment + by
        return self._later(moment, by) if by >= timedelta() else self._earlier(moment, -by)

    def between(self, begin: datetime, end: datetime) -> timedelta:
        """Return the working time between two moments."""
        if not any(self.week):
            return end - begin
        total = timedelta()
        for opens, closes in self._from(begin):
            if opens >= end:
                break
            total += max(min(closes, end) - max(opens, begin), timedelta())
        return total

    def _later(self, moment: datetime, left: timedelta) -> datetime:
        for opens, closes in self._from(moment):
            begin = max(opens, moment)
            if closes - begin >= left:
                return begin + left
            left -= max(closes - begin, timedelta())
        raise AssertionError("the working days do not end")

    def _earlier(self, moment: datetime, left: timedelta) -> datetime:
        for opens, closes in self._until(moment):
            end = min(closes, moment)
            if end - opens >= left:
                return end - left
            left -= max(end - opens, timedelta())
        raise AssertionError("the working days do not end")

    def _from(self, moment: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The spans in which staff work, beginning with those that end after the moment."""
        day = moment.astimezone(self.zone).date()
        while True:
            yield from (span for span in self._of(day) if span[1] > moment)
            day += _ONE_DAY

    def _until(self, moment: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The spans in which staff work, newest first, beginning with those that begin before the moment."""
        day = moment.astimezone(self.zone).date()
        while True:
            yield from (span for span in reversed(self._of(day)) if span[0] < moment)
            day -= _ONE_DAY

    def _of(self, day: date) -> list[tuple[datetime, datetime]]:
        if day in self.holidays:
            return []
        return [(self._at(day, begin), self._at(day, end)) for begin, end in self.week[day.weekday()]]

    def _at(self, day: date, since_midnight: timedelta) -> datetime:
        wall = datetime.combine(day, time()) + since_midnight
        return wall.replace(tzinfo=self.zone).astimezone(UTC)


@lru_cache(maxsize=16)
def hours_of(week: str, zone: str, holidays: str) -> Hours:
    """Read the settings; raises `ValueError` with a sentence about what is wrong."""
    spans: list[list[Span]] = [[] for _ in DAYS]
    for entry in filter(None, (one.strip().lower() for one in week.split(","))):
        days, span = _entry(entry)
        for day in days:
            spans[day].append(span)
    for of_day in spans:
        of_day.sort()
        if any(later[0] < earlier[1] for earlier, later in pairwise(of_day)):
            raise ValueError("SUPPORT_HOURS must not name the same hour of a day twice")
    total = sum((end - begin for of_day in spans for begin, end in of_day), timedelta())
    if week.strip() and total < LEAST_A_WEEK:
        raise ValueError("SUPPORT_HOURS must have at least five hours a week")
    return Hours(tuple(map(tuple, spans)), _zone(zone), _days(holidays))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:  # unknown, a directory, or a path outside the zones
        raise ValueError(
            f"SUPPORT_TIMEZONE: {name!r} is not a known time zone; use one such as Europe/Berlin"
        ) from error


def _days(listed: str) -> frozenset[date]:
    days = [one.strip() for one in listed.split(",") if one.strip()]
    if len(days) > HOLIDAYS_MAX:
        raise ValueError(f"SUPPORT_HOLIDAYS must have at most {HOLIDAYS_MAX} days")
    try:
        return frozenset(date.fromisoformat(day) for day in days)
    except ValueError:
        raise ValueError("SUPPORT_HOLIDAYS must be days such as 2026-12-25, separated by commas") from None


def _entry(entry: str) -> tuple[list[int], Span]:
    found = _ENTRY.fullmatch(entry)
    if found is None:
        raise ValueError(_FORM)
    first, last = found[1], found[2] or found[1]
    if first not in DAYS or last not in DAYS:
        raise ValueError(_FORM)
    begin, end = _clock(found[3], found[4]), _clock(found[5], found[6])
    if begin >= end:
        raise ValueError("SUPPORT_HOURS must have hours that end after they begin, on the same day")
    count = (DAYS.index(last) - DAYS.index(first)) % len(DAYS) + 1
    return [(DAYS.index(first) + day) % len(DAYS) for day in range(count)], (begin, end)


def _clock(hours: str, minutes: str) -> timedelta:
    since_midnight = timedelta(hours=int(hours), minutes=int(minutes))
    if int(minutes) > 59 or since_midnight > _ONE_DAY:
        raise ValueError(_FORM)
    return since_midnight
