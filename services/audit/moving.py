"""Prepares PostgreSQL for a log that moves there: a month of records needs its partition."""

from collections.abc import Callable
from datetime import UTC, datetime

from sqlmodel import Session

from services.audit.retention import PARTITIONED, prepare_months


def prepare_target(session: Session, months_of: Callable[[str, str], list[str]]) -> None:
    months = {month for table in PARTITIONED for month in months_of(table.name, "received")}
    for month in sorted(months):
        year, number = month.split("-")
        prepare_months(session, datetime(int(year), int(number), 1, tzinfo=UTC))
