"""Schedules in cron syntax, such as `0 6 * * MON`, and fixed intervals."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

CHARACTERS_MAX = 200
FIELDS = 5


@dataclass(frozen=True, slots=True)
class Cron:
    """A schedule of five fields (minute, hour, day, month, weekday) in a time zone.

    A ValueError says what is wrong with an expression. Daylight saving neither skips nor repeats a run.
    """

    expression: str
    zone: str = "UTC"
    _zone: ZoneInfo = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "_zone", ZoneInfo(self.zone))
        except (KeyError, OSError, ValueError) as error:  # unknown, a directory, or a path outside the zones
            raise ValueError(
                f"{self.zone!r} is not a known time zone; use one such as Europe/Berlin"
            ) from error
        if len(self.expression) > CHARACTERS_MAX or len(self.expression.split()) != FIELDS:
            raise ValueError("must be five fields such as `0 */6 * * *`: minute, hour, day, month, weekday")
        self.next_after(datetime(2024, 1, 1, tzinfo=self._zone))

    def next_after(self, at: datetime) -> datetime:
        """Return the first scheduled time after `at`."""
        from cronsim import CronSim, CronSimError  # imported late: few services use cron

        try:
            # In UTC: in a repeated hour, Python never treats times of different zones as equal.
            return next(CronSim(self.expression, at.astimezone(self._zone))).astimezone(UTC)
        except CronSimError as error:
            raise ValueError(f"{error} in `{self.expression}`") from error
        except StopIteration:
            raise ValueError(f"`{self.expression}` never occurs") from None

    def __str__(self) -> str:
        return f"{self.expression} {self.zone}"


@dataclass(frozen=True, slots=True)
class Every:
    """An interval, counted from the end of the previous run."""

    seconds: float

    def next_after(self, at: datetime) -> datetime:
        return at + timedelta(seconds=self.seconds)

    def __str__(self) -> str:
        return f"every {self.seconds:g} s"
