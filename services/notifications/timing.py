"""When mails may arrive, and in which language: quiet hours and digests in their recipient's time zone."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import cache
from typing import Any, Self
from zoneinfo import ZoneInfo

import structlog

from shared.words import pattern

MIDNIGHT = "00:00"
TIME = pattern(r"^([01][0-9]|2[0-3]):[0-5][0-9]$", "must be a time of day such as 07:30")
ZONE = pattern(r"^[A-Za-z0-9_+/-]{1,50}$", "must be a time zone such as Europe/Helsinki")
DAILY_AT = time(8)
_DAY = timedelta(days=1)
_PRECISION = timedelta(seconds=1)

log = structlog.get_logger(__name__)


class Digest(StrEnum):
    """How mails of notifications are gathered."""

    NONE = "none"
    HOUR = "hour"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class Timing:
    """When someone wants mails of notifications. Equal times mean that there are no quiet hours."""

    quiet_from: str = MIDNIGHT
    quiet_to: str = MIDNIGHT
    zone: str = "UTC"
    digest: Digest = Digest.NONE
    language: str | None = None  # a tag such as de-AT; None is the default of the installation

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        columns = row["quiet_from"], row["quiet_to"], row["zone"], Digest(row["digest"]), row["language"]
        return cls(*columns)

    def quiet_until(self, at: datetime) -> datetime | None:
        """Return the end of the quiet hours that contain `at`; None if it is outside of them.

        If clocks are set back, the hour that occurs twice is quiet twice. A time that is skipped is the
        moment at which clocks are set forward.
        """
        if self.quiet_from == self.quiet_to:
            return None
        zone, begins, ends = _stored_zone(self.zone), _time(self.quiet_from), _time(self.quiet_to)
        today = at.astimezone(zone).date()
        for day in (today - _DAY, today):
            end = _moment(day if begins < ends else day + _DAY, ends, zone, is_second=True)
            if _moment(day, begins, zone) <= at < end:
                return end
        return None

    def after_quiet(self, at: datetime) -> datetime:
        """Return the first moment from `at` that is not in quiet hours."""
        return self.quiet_until(at) or at

    def next_digest(self, at: datetime) -> datetime:
        """Return when what is gathered at `at` is sent: at the full hour or at 8:00, after quiet hours."""
        zone = _stored_zone(self.zone)
        local = at.astimezone(zone)
        if self.digest is Digest.HOUR:
            past = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
            return self.after_quiet(at + timedelta(hours=1) - past)
        days = (_moment(day, DAILY_AT, zone) for day in (local.date(), local.date() + _DAY))
        return self.after_quiet(next(moment for moment in days if moment > at))


DEFAULT = Timing()


@cache
def zone_of(name: str) -> ZoneInfo:
    """Return a time zone; raise ValueError if there is none of this name."""
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:  # unknown, a directory, or a path outside the zones
        raise ValueError(f"{name!r} is not a known time zone; use one such as Europe/Helsinki") from error


@cache
def _stored_zone(name: str) -> ZoneInfo:
    """Return a time zone that was checked when it was stored; UTC if this image does not know it.

    Another version of the time zone data may lack it. One person's zone must not stop the mails of others.
    """
    try:
        return zone_of(name)
    except ValueError:
        log.warning("time_zone_unknown", zone=name, used="UTC")  # once, because the result is cached
        return ZoneInfo("UTC")


def _time(text: str) -> time:
    return time.fromisoformat(text)


def _moment(day: date, at: time, zone: ZoneInfo, *, is_second: bool = False) -> datetime:
    """Return the moment of a local time.

    If the clock shows it twice, `is_second` chooses. If the clock skips it, return the moment of the change.
    """
    local = datetime.combine(day, at)
    first, second = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first > second:  # the clock skips this time
        return _change_between(second, first, zone)
    return second if is_second else first


def _change_between(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """Return when the clock of the zone is changed between two moments, to the second."""
    offset = before.astimezone(zone).utcoffset()
    while after - before > _PRECISION:
        middle = before + (after - before) / 2
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return (after + _PRECISION / 2).replace(microsecond=0)
