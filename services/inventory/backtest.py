"""Back-test of the advice to switch the running mode: what it would have cost to follow it in past months.

For each month the rule sees only the months before it, and what it would have advised is compared with the
hours that were billed.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from pydantic import Field
from sqlalchemy import select
from sqlmodel import Session

from services.inventory.advising import ALWAYS_ON, AUTO_STOP, CENT, Rates, advise_mode
from services.inventory.dated import month_before, month_of
from services.inventory.exact import Exact
from services.inventory.models import PRESENT, USAGE_MONTHS, WORKSPACES
from services.inventory.pricing import PriceList
from services.inventory.usage import hours
from services.inventory.usage_months import Hours, is_complete
from shared.clock import now
from shared.http.schemas import Output, Query, example
from shared.lists.pagination import rows_of

SEEN_MONTHS = 3  # that the rule looks at
WORKSPACES_MAX = 2_000
IDS_AT_ONCE = 500
KEPT_SECONDS = 60.0


class BacktestQuery(Query):
    months: int = Field(default=3, ge=1, le=12, description="How many past months to test.")


class BacktestMonth(Output):
    """One past month: what the WorkSpaces cost, and what they would have cost with the advice.

    `best` is the cost if the hours had been known in advance. All are list prices times the hours that were
    billed or, where `from_metrics` counts them, measured.
    """

    model_config = example(
        {
            "month": "2026-01",
            "currency": "USD",
            "workspaces": 300,
            "from_metrics": 90,
            "advised": 41,
            "right": 39,
            "as_it_was": "9120.5",
            "as_advised": "8530.25",
            "best": "8490",
        }
    )

    month: str
    currency: str
    workspaces: int
    from_metrics: int
    advised: int
    right: int
    as_it_was: Exact
    as_advised: Exact
    best: Exact


class BacktestOut(Output):
    """The back-test, newest month first; `truncated` if there are more WorkSpaces than were tested."""

    model_config = example({"months": [], "workspaces_tested": 300, "truncated": False})

    months: list[BacktestMonth]
    workspaces_tested: int
    truncated: bool


@dataclass
class _Sums:
    workspaces: int = 0
    from_metrics: int = 0
    advised: int = 0
    right: int = 0
    as_it_was: Decimal = field(default_factory=Decimal)
    as_advised: Decimal = field(default_factory=Decimal)
    best: Decimal = field(default_factory=Decimal)

    def add(self, mode: str, rates: Rates, before: Mapping[str, Decimal], used: Decimal, source: str) -> None:
        other = ALWAYS_ON if mode == AUTO_STOP else AUTO_STOP
        costs = {name: rates.of(name, used) or Decimal(0) for name in (mode, other)}
        is_advised = advise_mode(mode, before, rates) is not None
        self.workspaces += 1
        self.from_metrics += source != Hours.BILL
        self.advised += is_advised
        self.right += is_advised and costs[other] < costs[mode]
        self.as_it_was += costs[mode]
        self.as_advised += costs[other if is_advised else mode]
        self.best += min(costs.values())


class Backtests:
    """Keeps each result for a while, as a back-test takes a quarter of a second."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[int, tuple[float, BacktestOut]] = {}  # by the number of months

    def show(self, session: Session, query: BacktestQuery) -> BacktestOut:
        with self._lock:  # concurrent requests wait for the one that computes it
            kept = self._kept.get(query.months)
            if kept is None or time.monotonic() - kept[0] >= KEPT_SECONDS:
                kept = self._kept[query.months] = (time.monotonic(), run(session, query))
            return kept[1]


def run(session: Session, query: BacktestQuery) -> BacktestOut:
    """Test the rule on the newest WorkSpaces that run in one of the two modes."""
    columns = WORKSPACES.c
    names = ("id", "workspace_id", "region", "running_mode", "compute_type", "os", "root_gib", "user_gib")
    modes = columns.presence == PRESENT, columns.running_mode.in_((ALWAYS_ON, AUTO_STOP))
    found = select(*(columns[name] for name in names)).where(*modes).order_by(columns.id.desc())
    rows = rows_of(session, found.limit(WORKSPACES_MAX + 1))
    tested = rows[:WORKSPACES_MAX]
    months = _months(query.months + SEEN_MONTHS)
    used = _used(session, [row["workspace_id"] for row in tested], months)
    prices = {region: PriceList(session, region) for region in {row["region"] for row in tested}}
    sums: dict[tuple[str, str], _Sums] = {}
    for row in tested:
        rates = prices[row["region"]].rates(row)
        hours_of = used.get(row["workspace_id"], {})
        for number, month in enumerate(months[: query.months]):
            seen = [one for one in months[number + 1 : number + 1 + SEEN_MONTHS] if one in hours_of]
            if rates is None or month not in hours_of or not seen:
                continue
            before = {one: hours_of[one][0] for one in seen}
            sums.setdefault((month, rates.currency), _Sums()).add(
                row["running_mode"], rates, before, *hours_of[month]
            )
    shown = [_shown(key, one) for key, one in sorted(sums.items(), reverse=True)]
    return BacktestOut(months=shown, workspaces_tested=len(tested), truncated=len(rows) > len(tested))


def _months(number: int) -> list[str]:
    """List this many past months, newest first."""
    months = [month_of(now().date())]
    while len(months) <= number:
        months.append(month_before(months[-1]))
    return months[1:]


def _used(
    session: Session, ids: Sequence[str], months: Sequence[str]
) -> dict[str, dict[str, tuple[Decimal, str]]]:
    """Return the hours of complete months and their source, by WorkSpace and month."""
    found: dict[str, dict[str, tuple[Decimal, str]]] = {}
    for start in range(0, len(ids), IDS_AT_ONCE):
        some = USAGE_MONTHS.c.workspace_id.in_(ids[start : start + IDS_AT_ONCE])
        wanted = select(USAGE_MONTHS).where(some, USAGE_MONTHS.c.month.in_(months))
        for row in rows_of(session, wanted):
            if is_complete(row):
                told = hours(row["hours"]), row["source"]
                found.setdefault(row["workspace_id"], {})[row["month"]] = told
    return found


def _shown(key: tuple[str, str], one: _Sums) -> BacktestMonth:
    amounts: dict[str, Any] = {
        name: getattr(one, name).quantize(CENT) for name in ("as_it_was", "as_advised", "best")
    }
    counts = {name: getattr(one, name) for name in ("workspaces", "from_metrics", "advised", "right")}
    return BacktestMonth(month=key[0], currency=key[1], **counts, **amounts)
