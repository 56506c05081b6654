"""Timestamps in tokens."""

from datetime import datetime


def seconds_of(moment: datetime) -> int:
    return int(moment.timestamp())
