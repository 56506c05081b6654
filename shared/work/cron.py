"""Times of a day, week or month, written as cron does: `0 6 * * MON`."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator

CHARACTERS_MAX = 200
FIELDS = 5


@dataclass(frozen=True, slots=True)
class Cron:
    """A schedule of five fields (minute, hour, day, month, day of the week) in a time zone.

    ValueError says what is wrong with it. A change of the clocks neither skips nor repeats a time of day.
    """

    expression: str
    zone: str = "UTC"
    _zone: ZoneInfo = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "_zone", ZoneInfo(self.zone))
        except (KeyError, OSError, ValueError) as error:  # unknown, a folder, a path out of the zones
            raise ValueError(f"{self.zone!r} is not a time zone such as Europe/Berlin") from error
        if len(self.expression) > CHARACTERS_MAX or len(self.expression.split()) != FIELDS:
            raise ValueError("must be five fields such as `0 */6 * * *`: minute, hour, day, month, weekday")
        self.next_after(datetime(2024, 1, 1, tzinfo=self._zone))

    def next_after(self, at: datetime) -> datetime:
        """The first time of the schedule behind this moment."""
        from cronsim import CronSim, CronSimError  # few services have a time of day

        try:
            # In UTC: of an hour that comes twice, Python takes no time for equal to one of another zone.
            return next(CronSim(self.expression, at.astimezone(self._zone))).astimezone(UTC)
        except CronSimError as error:
            raise ValueError(f"{error} in `{self.expression}`") from error
        except StopIteration:
            raise ValueError(f"`{self.expression}` never comes") from None

    def __str__(self) -> str:
        return f"{self.expression} {self.zone}"


@dataclass(frozen=True, slots=True)
class Every:
    """So many seconds after the end of the last time."""

    seconds: float

    def next_after(self, at: datetime) -> datetime:
        return at + timedelta(seconds=self.seconds)

    def __str__(self) -> str:
        return f"every {self.seconds:g} s"


def _checked(expression: str) -> str:
    if expression:
        Cron(expression)
    return expression


CronSetting = Annotated[str, AfterValidator(_checked)]  # empty: never
