"""Ids derived from a time and a key: stable for the same input, and sorted by time like other ids."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

from shared.ids import first_id

MONTH_CHARACTERS = 7


def dated_id(at: datetime, key: Sequence[str]) -> str:
    digits = hashlib.sha256("\n".join(key).encode()).hexdigest()
    return f"{first_id(at)[:14]}7{digits[:3]}-8{digits[3:6]}-{digits[6:18]}"


def midnight(day: date) -> datetime:
    return datetime.combine(day, time(tzinfo=UTC))


def month_of(day: date) -> str:
    return day.isoformat()[:MONTH_CHARACTERS]


def first_day(month: str) -> date:
    return date.fromisoformat(f"{month}-01")


def month_before(month: str) -> str:
    return month_of(first_day(month) - timedelta(days=1))


def next_month(month: str) -> str:
    return month_of(first_day(month) + timedelta(days=31))
