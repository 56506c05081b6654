"""Points in time as tokens hold them."""

from datetime import datetime


def seconds_of(moment: datetime) -> int:
    return int(moment.timestamp())
