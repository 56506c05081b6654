"""Settles estimated costs of past months, which AWS makes final some days after a month ends.

By then AWS no longer names the WorkSpaces. So the rows of the WorkSpaces stay as they are, and the difference
is stored in a row without a WorkSpace. Sums then equal AWS's exactly.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, case, delete, func, insert, select, update
from sqlmodel import Session

from services.inventory import cost_days, usage_months
from services.inventory.dated import dated_id, midnight
from services.inventory.exact import joined, split, written
from services.inventory.models import COSTS
from services.inventory.sync.source import Place, Values

Key = tuple[str, str]  # day and usage type
Sums = tuple[Decimal, Decimal]  # amount and quantity


def oldest_estimate(session: Session, account: str, since: date, before: date) -> date | None:
    """Return the first of these days that has an estimated cost."""
    days = COSTS.c.day >= since.isoformat(), COSTS.c.day < before.isoformat()
    found = select(func.min(COSTS.c.day)).where(COSTS.c.account == account, *days, COSTS.c.estimated)
    day = session.connection().execute(found).scalar()
    return None if day is None else date.fromisoformat(day)


def settle(session: Session, place: Place, days: tuple[date, date], rows: Sequence[Values]) -> int:
    """Compare the sums of these days with AWS's; return how many usage types of a day became final."""
    reported: dict[Key, list[Values]] = defaultdict(list)
    for row in rows:
        reported[row["day"], row["usage_type"]].append(row)
    open_days = {row["day"] for row in rows if row["estimated"]}
    known, settled = _known(session, place.account, days), 0
    for key in sorted(reported.keys() | known.keys()):
        amounts, is_estimated = known.get(key, ((Decimal(0), Decimal(0)), True))
        if key[0] in open_days or not is_estimated:
            continue
        settled += 1
        _settle(session, place, key, amounts, reported.get(key, []))
    if settled:
        cost_days.sum_again(session, place.account, days)
        _refresh_months(session, place.account, days)
    return settled


def _known(session: Session, account: str, days: tuple[date, date]) -> Mapping[Key, tuple[Sums, bool]]:
    columns = COSTS.c
    names = ("amount_whole", "amount_part", "quantity_whole", "quantity_part")
    sums = [func.sum(columns[name]) for name in names]
    estimated = func.max(case((columns.estimated, 1), else_=0))
    found = select(columns.day, columns.usage_type, *sums, estimated).where(*_within(account, days))
    rows = session.connection().execute(found.group_by(columns.day, columns.usage_type))
    return {
        (row[0], row[1]): ((joined(row[2], row[3]), joined(row[4], row[5])), bool(row[6])) for row in rows
    }


def _within(account: str, days: tuple[date, date]) -> tuple[ColumnElement[bool], ...]:
    day = COSTS.c.day
    return COSTS.c.account == account, day >= days[0].isoformat(), day < days[1].isoformat()


def _settle(session: Session, place: Place, key: Key, known: Sums, reported: Sequence[Values]) -> None:
    execute, columns = session.connection().execute, COSTS.c
    these = columns.account == place.account, columns.day == key[0], columns.usage_type == key[1]
    if not reported:  # AWS no longer reports this usage type
        execute(delete(COSTS).where(*these))
        return
    execute(update(COSTS).where(*these, columns.estimated).values(estimated=False))
    amount = sum((joined(row["amount_whole"], row["amount_part"]) for row in reported), Decimal(0)) - known[0]
    quantity = (
        sum((joined(row["quantity_whole"], row["quantity_part"]) for row in reported), Decimal(0)) - known[1]
    )
    if not (amount or quantity):
        return
    row_id = dated_id(midnight(date.fromisoformat(key[0])), [place.account, *key, "difference"])
    before = execute(select(COSTS).where(columns.id == row_id)).mappings().first()
    if before is not None:
        amount += joined(before["amount_whole"], before["amount_part"])
        quantity += joined(before["quantity_whole"], before["quantity_part"])
    values = _exactly(amount, quantity)
    if before is not None:
        execute(update(COSTS).where(columns.id == row_id).values(values))
    else:
        row = {**reported[0], **values, "id": row_id, "workspace_id": "", "pulled": place.seen()}
        execute(insert(COSTS).values(row))


def _exactly(amount: Decimal, quantity: Decimal) -> dict[str, Any]:
    (amount_whole, amount_part), (quantity_whole, quantity_part) = (
        split(written(amount)),
        split(written(quantity)),
    )
    return {
        "amount_whole": amount_whole,
        "amount_part": amount_part,
        "quantity_whole": quantity_whole,
        "quantity_part": quantity_part,
    }


def _refresh_months(session: Session, account: str, days: tuple[date, date]) -> None:
    """Recompute the months of usage, because their bills may be final now."""
    month = func.substr(COSTS.c.day, 1, 7)
    named = COSTS.c.workspace_id != "", COSTS.c.unit.in_(usage_months.HOUR_UNITS)
    found = select(COSTS.c.workspace_id, month).where(*_within(account, days), *named).distinct()
    pairs = [(row[0], row[1]) for row in session.connection().execute(found)]
    usage_months.refresh(session, account, pairs)
