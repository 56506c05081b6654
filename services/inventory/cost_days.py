"""Sums of costs by day and account, kept up to date in the transactions that change costs."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from sqlalchemy import case, delete, func, insert, select
from sqlmodel import Session

from services.inventory import totals
from services.inventory.models import COST_DAYS, COSTS

_KEY = ("day", "account", "currency")
_SUMMED = ("amount_whole", "amount_part", "rows", "estimated")


def apply(
    session: Session, added: Sequence[Mapping[str, Any]], removed: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Add costs to the sums of their days, and subtract others."""
    changes: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0] * len(_SUMMED))
    for sign, rows in ((1, added), (-1, removed)):
        for row in rows:
            change = changes[tuple(row[name] for name in _KEY)]
            figures = (row["amount_whole"], row["amount_part"], 1, int(row["estimated"]))
            change[:] = [before + sign * one for before, one in zip(change, figures, strict=True)]
    totals.add(session, COST_DAYS, changes)


def sum_again(session: Session, account: str, days: tuple[date, date]) -> None:
    """Recompute the sums of an account for a range of days, after its costs were changed in bulk."""
    execute, since, before = session.connection().execute, *(day.isoformat() for day in days)
    mine = COST_DAYS.c.account == account, COST_DAYS.c.day >= since, COST_DAYS.c.day < before
    execute(delete(COST_DAYS).where(*mine))
    columns = COSTS.c
    sums = (
        func.sum(columns.amount_whole),
        func.sum(columns.amount_part),
        func.count(),
        func.sum(case((columns.estimated, 1), else_=0)),
    )
    keys = [columns[name] for name in _KEY]
    found = select(*keys, *sums).where(columns.account == account, columns.day >= since, columns.day < before)
    execute(insert(COST_DAYS).from_select([*_KEY, *_SUMMED], found.group_by(*keys)))
