"""Times and days that filter a list; only the format of RFC 3339 is accepted.

By default, pydantic also accepts a number as seconds since 1970.
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator, Field

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.IGNORECASE)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _spelled(as_in: re.Pattern[str], words: str) -> Callable[[object], object]:
    def check(text: object) -> object:
        if not isinstance(text, date) and not (isinstance(text, str) and as_in.fullmatch(text)):
            raise ValueError(words)
        return text

    return check


# Once converted to UTC, the time must still be within datetime's range.
Time = Annotated[
    AwareDatetime,
    BeforeValidator(_spelled(_TIME, "must be a time with a time zone, such as 2026-01-31T12:00:00Z")),
    Field(ge=datetime.min.replace(tzinfo=UTC), le=datetime.max.replace(tzinfo=UTC)),
]
Day = Annotated[date, BeforeValidator(_spelled(_DAY, "must be a date, such as 2026-01-31"))]
