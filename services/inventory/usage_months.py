"""Months of usage, worked out from days of metrics and from the bill.

The bill decides once a month is over and its costs are final; until then, metrics do. Hours are never
invented.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import case, func, insert, select, update
from sqlmodel import Session

from services.inventory import totals
from services.inventory.dated import dated_id, first_day, midnight, month_of, next_month
from services.inventory.exact import joined
from services.inventory.models import COSTS, USAGE_DAYS, USAGE_MONTHS
from shared.clock import now
from shared.ids import first_id

IDS_AT_ONCE = 500
MILLION = 1_000_000
HOUR_UNITS = ("Hrs", "Hours", "hours", "Hour")
_SUMMED = ("connected_minutes", "sessions", "session_hours", "clock_hours")


class Hours(StrEnum):
    """Where the hours of a month come from."""

    METRICS = "metrics"
    BILL = "bill"


Read = tuple[date, date]  # the first and the last day of which metrics were read


def refresh(
    session: Session, account: str, pairs: Iterable[tuple[str, str]], read: Read | None = None
) -> None:
    """Recompute these months, given as pairs of WorkSpace and month."""
    by_month: dict[str, list[str]] = defaultdict(list)
    for workspace_id, month in sorted({*pairs}):
        by_month[month].append(workspace_id)
    for month, ids in by_month.items():
        for start in range(0, len(ids), IDS_AT_ONCE):
            _refresh(session, account, month, ids[start : start + IDS_AT_ONCE], read)


def months_of(read: Read) -> list[str]:
    """List the months that these days belong to."""
    months, last = [month_of(read[0])], month_of(read[1])
    while months[-1] < last:
        months.append(next_month(months[-1]))
    return months


def is_complete(row: Mapping[str, Any]) -> bool:
    """Whether the hours of a month are billed, or were read from its first to its last day."""
    last = first_day(next_month(row["month"])) - timedelta(days=1)
    is_read = (row["first_day"], row["last_day"]) == (f"{row['month']}-01", last.isoformat())
    return is_read or row["source"] == Hours.BILL


def _refresh(session: Session, account: str, month: str, ids: Sequence[str], read: Read | None) -> None:
    execute = session.connection().execute
    some = USAGE_MONTHS.c.month == month, USAGE_MONTHS.c.workspace_id.in_(ids)
    known = {row["workspace_id"]: dict(row) for row in execute(select(USAGE_MONTHS).where(*some)).mappings()}
    metrics, bills = _metrics(session, month, ids), _bills(session, account, month, ids)
    new, changes = [], list[tuple[totals.Before, totals.Row]]()
    for workspace_id in ids:
        before = known.get(workspace_id)
        row = _month(before, metrics.get(workspace_id), bills.get(workspace_id), _within(month, read))
        if row is None:
            continue
        changes.append((before, row))
        if before is None:
            row_id = dated_id(midnight(first_day(month)), [workspace_id])
            whose = {"id": row_id, "workspace_id": workspace_id, "account": account, "month": month}
            new.append({**whose, **row, "updated": now()})
        elif any(before[name] != value for name, value in row.items()):
            one = update(USAGE_MONTHS).where(USAGE_MONTHS.c.id == before["id"])
            execute(one.values(**row, updated=now()))
    if new:
        execute(insert(USAGE_MONTHS), new)
    totals.sum_hours(session, month, changes)


def _within(month: str, read: Read | None) -> tuple[str, str] | None:
    """Return the part of the days read that lies in the month."""
    if read is None:
        return None
    last = first_day(next_month(month)) - timedelta(days=1)
    return max(read[0], first_day(month)).isoformat(), min(read[1], last).isoformat()


def _metrics(session: Session, month: str, ids: Sequence[str]) -> Mapping[str, Mapping[str, int]]:
    columns = USAGE_DAYS.c
    sums = [func.sum(columns[name]).label(name) for name in _SUMMED]
    days = func.sum(case((columns.connected_minutes > 0, 1), else_=0)).label("days")
    listed = columns.workspace_id.in_(ids), columns.day >= f"{month}-01", columns.day < f"{month}-32"
    found = select(columns.workspace_id, days, *sums).where(*listed).group_by(columns.workspace_id)
    rows = session.connection().execute(found).mappings()
    return {row["workspace_id"]: {name: int(row[name]) for name in ("days", *_SUMMED)} for row in rows}


def _bills(session: Session, account: str, month: str, ids: Sequence[str]) -> Mapping[str, tuple[int, bool]]:
    """Return the billed hours in millionths, and whether they are final and complete."""
    execute, columns = session.connection().execute, COSTS.c
    first = columns.account == account, columns.day == f"{month}-01", columns.workspace_id != ""
    is_whole = execute(select(columns.id).where(*first).limit(1)).scalar() is not None
    listed = (
        columns.workspace_id.in_(ids),
        columns.id >= first_id(midnight(first_day(month))),  # ids sort by day
        columns.id < first_id(midnight(first_day(next_month(month)))),
        columns.unit.in_(HOUR_UNITS),
    )
    estimated = func.max(case((columns.estimated, 1), else_=0))
    sums = func.sum(columns.quantity_whole), func.sum(columns.quantity_part), estimated
    rows = execute(select(columns.workspace_id, *sums).where(*listed).group_by(columns.workspace_id))
    is_over = month < month_of(now().date())
    return {row[0]: (_millionths(row[1], row[2]), is_whole and is_over and not row[3]) for row in rows}


def _millionths(whole: Any, part: Any) -> int:
    return int(joined(whole, part) * MILLION)


def _month(
    before: Mapping[str, Any] | None,
    metrics: Mapping[str, int] | None,
    bill: tuple[int, bool] | None,
    read: tuple[str, str] | None,
) -> dict[str, Any] | None:
    """Return the row of a month; None if neither metrics nor a bill say anything about it."""
    first, last = (before["first_day"], before["last_day"]) if before else (None, None)
    if read is not None:
        first, last = min(first or read[0], read[0]), max(last or read[1], read[1])
    billed, is_final = bill or (None, False)
    if first is None and billed is None:
        return None
    row: dict[str, Any] = {"first_day": first, "last_day": last, "billed": billed}
    row |= dict.fromkeys(("days", *_SUMMED), None if first is None else 0) | dict(metrics or {})
    if billed is not None and (is_final or first is None):
        return row | {"source": Hours.BILL, "hours": billed}
    return row | {"source": Hours.METRICS, "hours": row["clock_hours"] * MILLION}
