"""The figures of the start page, computed at most once every fifteen seconds per process."""

import threading
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from sqlalchemy import func, select
from sqlmodel import Session

from services.inventory import accounts, advices, costs, usage
from services.inventory.advices import AdviceSum
from services.inventory.costs import SumCosts
from services.inventory.dated import first_day, month_of
from services.inventory.exact import Exact
from services.inventory.models import GONE, SCANS, WORKSPACE_COUNTS
from services.inventory.sync import syncs
from services.inventory.sync.schemas import SyncOut
from services.inventory.usage import UsageSummary
from shared.clock import now
from shared.http.schemas import Output, example
from shared.lists.pagination import PageQuery

KEPT_SECONDS = 15.0
RECENT = 10
UNKNOWN = "UNKNOWN"


class DashboardOut(Output):
    """Totals of the WorkSpaces that AWS lists, and the costs and hours of this month in UTC.

    `is_demo`: they are those of an invented company. `last_read`: when each source's last complete scan
    began. Hours without `sources` were not read.
    """

    model_config = example(
        {
            "is_demo": False,
            "total_workspaces": 300,
            "gone_workspaces": 4,
            "by_state": {"AVAILABLE": 180, "STOPPED": 120},
            "by_running_mode": {"ALWAYS_ON": 90, "AUTO_STOP": 210},
            "accounts": {"connected": 1},
            "last_read": {"workspaces": "2026-01-31T12:00:00Z"},
            "month": "2026-01",
            "cost": {"USD": "3120.55"},
            "cost_estimated": True,
            "usage": {
                "month": "2026-01",
                "workspace_count": 300,
                "total_hours": "25350.5",
                "avg_hours": "84.5",
                "max_hours": "420",
                "min_hours": "0",
                "sources": {"metrics": 300},
            },
            "advice": [],
            "recent_syncs": [],
            "as_of": "2026-01-31T12:00:00Z",
        }
    )

    is_demo: bool
    total_workspaces: int
    gone_workspaces: int
    by_state: dict[str, int]
    by_running_mode: dict[str, int]
    accounts: dict[str, int]
    last_read: dict[str, datetime]
    month: str
    cost: dict[str, Exact]
    cost_estimated: bool
    usage: UsageSummary
    advice: list[AdviceSum]
    recent_syncs: list[SyncOut]
    as_of: datetime


class Dashboard:
    """Caches the figures."""

    def __init__(self, *, is_demo: bool = False) -> None:
        self._is_demo = is_demo
        self._lock = threading.Lock()
        self._kept: tuple[float, DashboardOut] | None = None

    def show(self, session: Session) -> DashboardOut:
        kept = self._kept
        if kept is not None and time.monotonic() - kept[0] < KEPT_SECONDS:
            return kept[1]
        with self._lock:  # concurrent requests wait for the one that computes the figures
            if self._kept is None or self._kept is kept:
                self._kept = (time.monotonic(), self.work_out(session))
            return self._kept[1]

    def work_out(self, session: Session) -> DashboardOut:
        execute = session.connection().execute
        scans = select(SCANS.c.source, func.max(SCANS.c.completed)).group_by(SCANS.c.source)
        month = month_of(now().date())
        counted = _Counts.of(session)
        billed = costs.sums(session, SumCosts(by="month", start_date=first_day(month)))
        return DashboardOut(
            is_demo=self._is_demo,
            total_workspaces=counted.states.total(),
            gone_workspaces=counted.gone,
            by_state=dict(sorted(counted.states.items())),
            by_running_mode=dict(sorted(counted.modes.items())),
            accounts=dict(sorted(Counter(one["status"] for one in accounts.live(session)).items())),
            month=month,
            cost=billed.total,
            cost_estimated=any(one.estimated for one in billed.sums),
            usage=usage.summary(session, month),
            advice=advices.sums(session),
            last_read={row[0]: row[1] for row in execute(scans)},
            recent_syncs=syncs.history(session, PageQuery(limit=RECENT)).items,
            as_of=now(),
        )


@dataclass(frozen=True, slots=True)
class _Counts:
    """The numbers of WorkSpaces."""

    states: Counter[str]
    modes: Counter[str]
    gone: int

    @classmethod
    def of(cls, session: Session) -> Self:
        states, modes, gone = Counter[str](), Counter[str](), 0
        found = select(WORKSPACE_COUNTS).where(WORKSPACE_COUNTS.c.number > 0)
        for presence, state, mode, number in session.connection().execute(found):
            if presence == GONE:
                gone += number
            else:
                states[state] += number
                modes[mode or UNKNOWN] += number
        return cls(states, modes, gone)
