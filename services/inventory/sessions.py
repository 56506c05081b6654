"""Hours from CloudWatch samples: when a WorkSpace ran, and how AWS may bill that.

A sample means that a user was connected during the five minutes that begin then. The WorkSpace runs until its
AutoStop timeout after the last one. AWS does not document how it rounds, so both usual ways are counted:
whole hours per session, and clock hours in which the WorkSpace ran.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

SAMPLE = timedelta(minutes=5)
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Used:
    """The figures of one day."""

    connected_minutes: int = 0
    sessions: int = 0
    session_hours: int = 0
    clock_hours: int = 0


def sessions_of(
    samples: Iterable[datetime], timeout: timedelta, until: datetime
) -> list[tuple[datetime, datetime]]:
    """Return the times in which the WorkSpace ran: disjoint, in order, and cut off at `until`."""
    found: list[tuple[datetime, datetime]] = []
    for sample in sorted(set(samples)):
        end = sample + SAMPLE + timeout
        if found and sample <= found[-1][1]:
            found[-1] = (found[-1][0], end)
        else:
            found.append((sample, end))
    return [(begin, min(end, until)) for begin, end in found if begin < until]


def days_of(samples: Iterable[datetime], timeout: timedelta, until: datetime) -> Mapping[date, Used]:
    """Return the figures of each day, in UTC, on which the WorkSpace ran."""
    taken = {sample.astimezone(UTC) for sample in samples if sample < until}
    minutes, begun, whole = Counter[date](), Counter[date](), Counter[date]()
    for sample in taken:
        minutes[sample.date()] += SAMPLE // timedelta(minutes=1)
    hours: set[datetime] = set()
    for begin, end in sessions_of(taken, timeout, until):
        begun[begin.date()] += 1
        whole[begin.date()] += -((begin - end) // HOUR)
        hour = begin.replace(minute=0, second=0, microsecond=0)
        while hour < end:
            hours.add(hour)
            hour += HOUR
    clock = Counter(hour.date() for hour in hours)
    days = sorted(minutes.keys() | begun.keys() | clock.keys())
    return {day: Used(minutes[day], begun[day], whole[day], clock[day]) for day in days}
