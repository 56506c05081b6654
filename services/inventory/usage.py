"""Queries over usage: hours by month, and by day for one WorkSpace."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints
from sqlalchemy import func, select
from sqlmodel import Session

from services.inventory import costs
from services.inventory.costs import SumCosts, SumOut
from services.inventory.dated import first_day, midnight, month_before, month_of, next_month
from services.inventory.exact import Exact
from services.inventory.models import HOUR_SUMS, USAGE_DAYS, USAGE_MONTHS, WORKSPACES
from services.inventory.schemas import WorkspaceId
from services.inventory.usage_months import MILLION
from shared.clock import now
from shared.http.schemas import Output, Page, Query, example
from shared.ids import first_id
from shared.lists.pagination import PageQuery, Walk, paginate
from shared.words import pattern

MONTH = pattern(r"^20[0-9]{2}-(0[1-9]|1[0-2])$", "must be a month, such as 2026-01")
Month = Annotated[str, StringConstraints(pattern=MONTH)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=300)]
PLACES = Decimal("0.01")
USER_WORKSPACES_MAX = 50
DAYS_SHOWN = 62


class UsageFilters(Query):
    workspace_id: WorkspaceId | None = Field(default=None, description="Only the usage of this WorkSpace.")
    user_name: Name | None = Field(default=None, description="Only the WorkSpaces of this directory user.")
    month_from: Month | None = Field(default=None, description="Only this month and later ones.")
    month_to: Month | None = Field(default=None, description="Only this month and earlier ones.")


class ListUsage(UsageFilters, PageQuery):
    """Filters and paging of the list."""


class OneMonth(Query):
    month: Month = Field(description="The month, for example 2026-01.")


class MetricsQuery(Query):
    months: int = Field(default=6, ge=1, le=24, description="How many months to show, including this one.")


class UsageOut(Output):
    """The hours of a WorkSpace in one month.

    `hours` are those on the bill once it is final (`source`: `bill`); until then they are the clock hours in
    which it ran (`metrics`). Figures of metrics are null if they could not be read, and cover the days from
    `first_day` to `last_day`.
    """

    model_config = example(
        {
            "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "workspace_id": "ws-0a1b2c3d4",
            "user_name": "ann",
            "bundle_id": "wsb-stand0002",
            "running_mode": "AUTO_STOP",
            "month": "2026-01",
            "hours": "84.5",
            "source": "bill",
            "billed_hours": "84.5",
            "clock_hours": 86,
            "session_hours": 91,
            "connected_minutes": 4275,
            "sessions": 31,
            "days": 20,
            "first_day": "2026-01-01",
            "last_day": "2026-01-31",
            "updated": "2026-02-05T12:00:00Z",
        }
    )

    id: str
    workspace_id: str
    user_name: str | None
    bundle_id: str | None
    running_mode: str | None
    month: str
    hours: Exact
    source: str
    billed_hours: Exact | None
    clock_hours: int | None
    session_hours: int | None
    connected_minutes: int | None
    sessions: int | None
    days: int | None
    first_day: str | None
    last_day: str | None
    updated: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        billed = row["billed"]
        shown = {"hours": hours(row["hours"]), "billed_hours": None if billed is None else hours(billed)}
        return cls.unchecked(row, **shown, **dict.fromkeys(_OF_WORKSPACE))


_OF_WORKSPACE = ("user_name", "bundle_id", "running_mode")


class DayOut(Output):
    """The usage of one day; days without a connection are left out."""

    model_config = example(
        {"day": "2026-01-30", "connected_minutes": 245, "sessions": 2, "session_hours": 6, "clock_hours": 6}
        | {"complete": True}
    )

    day: str
    connected_minutes: int
    sessions: int
    session_hours: int
    clock_hours: int
    complete: bool


class WorkspaceMetrics(Output):
    """Usage by month and by day, and costs by month, of one WorkSpace; newest first."""

    model_config = example(
        {"workspace_id": "ws-0a1b2c3d4", "usage": [], "days": [], "billing": [], "total": {"USD": "12.5"}}
    )

    workspace_id: str
    usage: list[UsageOut]
    days: list[DayOut]
    billing: list[SumOut]
    total: dict[str, Exact]


class UsageSummary(Output):
    """The hours of all WorkSpaces in one month, and how many hours come from each source."""

    model_config = example(
        {
            "month": "2026-01",
            "workspace_count": 300,
            "total_hours": "25350.5",
            "avg_hours": "84.5",
            "max_hours": "420",
            "min_hours": "0",
            "sources": {"bill": 210, "metrics": 90},
        }
    )

    month: str
    workspace_count: int
    total_hours: Exact
    avg_hours: Exact
    max_hours: Exact
    min_hours: Exact
    sources: dict[str, int]


def hours(millionths: int) -> Decimal:
    return Decimal(int(millionths)) / MILLION


def find(session: Session, filters: UsageFilters, page: PageQuery) -> Page[UsageOut]:
    """Return one page, newest months first."""
    first = None if filters.month_from is None else first_id(midnight(first_day(filters.month_from)))
    before = None if filters.month_to is None else first_id(midnight(first_day(next_month(filters.month_to))))
    ids = _ids(session, filters)
    columns = USAGE_MONTHS.c
    if ids is None:
        walks = [Walk(select(USAGE_MONTHS), columns.id)]
    else:
        walks = [Walk(select(USAGE_MONTHS).where(columns.workspace_id == one), columns.id) for one in ids]
    if not walks:
        return Page[UsageOut].model_construct(items=[], next=None)
    bounded = [walk.between(before, first) for walk in walks]
    found = paginate(session, bounded, columns.id, page, UsageOut.of)
    named = _with_workspaces(session, found.items)
    return Page[UsageOut].model_construct(items=named, next=found.next)


def _ids(session: Session, filters: UsageFilters) -> Sequence[str] | None:
    """Return the WorkSpaces to show; None for all."""
    if filters.user_name is None:
        return None if filters.workspace_id is None else [filters.workspace_id]
    columns = WORKSPACES.c
    found = select(columns.workspace_id).where(columns.user_name == filters.user_name)
    if filters.workspace_id is not None:
        found = found.where(columns.workspace_id == filters.workspace_id)
    newest = found.order_by(columns.id.desc()).limit(USER_WORKSPACES_MAX)
    return session.connection().execute(newest).scalars().all()


def _with_workspaces(session: Session, items: Sequence[UsageOut]) -> list[UsageOut]:
    """Add the user, bundle and running mode of each WorkSpace."""
    if not items:
        return []
    columns = WORKSPACES.c
    ids = {one.workspace_id for one in items}
    found = select(columns.workspace_id, *(columns[name] for name in _OF_WORKSPACE))
    rows = session.connection().execute(found.where(columns.workspace_id.in_(ids))).mappings()
    known = {row["workspace_id"]: row for row in rows}
    return [
        UsageOut.unchecked({**vars(one), **known[one.workspace_id]}) if one.workspace_id in known else one
        for one in items
    ]


def summary(session: Session, month: str) -> UsageSummary:
    """Sum up a month; without figures, all are zero and `sources` is empty."""
    sums, columns = HOUR_SUMS.c, USAGE_MONTHS.c
    mine = columns.month == sums.month, columns.source == sums.source
    # Separate subqueries: the database finds each bound at an end of the index, without reading every month.
    bounds = [select(find(columns.hours)).where(*mine).scalar_subquery() for find in (func.max, func.min)]
    found = select(sums.source, sums.number, sums.hours, *bounds)
    rows = session.connection().execute(found.where(sums.month == month, sums.number > 0)).all()
    number, total = sum(row[1] for row in rows), sum(row[2] for row in rows)
    return UsageSummary(
        month=month,
        workspace_count=number,
        total_hours=hours(total),
        avg_hours=(hours(total) / max(number, 1)).quantize(PLACES),
        max_hours=hours(max((row[3] for row in rows), default=0)),
        min_hours=hours(min((row[4] for row in rows), default=0)),
        sources={row[0]: row[1] for row in rows},
    )


def metrics(session: Session, workspace_id: str, months: int) -> WorkspaceMetrics:
    since = month_of(now().date())
    for _ in range(months - 1):
        since = month_before(since)
    page = PageQuery(limit=months)
    filters = UsageFilters(workspace_id=workspace_id, month_from=since)
    billing = costs.sums(
        session, SumCosts(by="month", workspace_id=workspace_id, start_date=first_day(since))
    )
    return WorkspaceMetrics(
        workspace_id=workspace_id,
        usage=find(session, filters, page).items,
        days=_days(session, workspace_id, now().date() - timedelta(days=DAYS_SHOWN)),
        billing=billing.sums,
        total=billing.total,
    )


def _days(session: Session, workspace_id: str, since: date) -> list[DayOut]:
    columns = USAGE_DAYS.c
    mine = columns.workspace_id == workspace_id, columns.day >= since.isoformat()
    found = select(USAGE_DAYS).where(*mine).order_by(columns.day.desc())
    return [DayOut.unchecked(dict(row)) for row in session.connection().execute(found).mappings()]
