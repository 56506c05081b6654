"""Queries over costs: rows and exact sums."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints
from sqlalchemy import Column, Select, case, func, literal, select
from sqlmodel import Session

from services.inventory.dated import midnight
from services.inventory.exact import Exact, joined
from services.inventory.models import COST_DAYS, COSTS, TAGS, WORKSPACES
from services.inventory.schemas import WorkspaceId
from shared.http.schemas import Id, Output, Page, Query, example
from shared.ids import first_id
from shared.lists.pagination import PageQuery, Walk, paginate
from shared.lists.times import Day
from shared.words import pattern

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
GROUPS_MAX = 500
TAG = "tag:"
# What each group of costs is grouped by.
GROUPS: Mapping[str, Any] = {
    "month": func.substr(COSTS.c.day, 1, 7),
    "day": COSTS.c.day,
    "service": COSTS.c.service,
    "usage_type": COSTS.c.usage_type,
    "workspace": COSTS.c.workspace_id,
    "region": COSTS.c.region,
    "account": COSTS.c.account,
}
OF_WORKSPACES = ("directory", TAG)
_GROUPS_NAMED = f"one of {', '.join((*GROUPS, 'directory'))}, or tag:KEY"
_BY = pattern(
    rf"^({'|'.join((*GROUPS, 'directory'))}|{TAG}[^\x00-\x1f]{{1,128}})$", f"must be {_GROUPS_NAMED}"
)
# The same for those groups for which the sums by day and account suffice.
GROUPS_OF_DAYS: Mapping[str, Any] = {
    "month": func.substr(COST_DAYS.c.day, 1, 7),
    "day": COST_DAYS.c.day,
    "account": COST_DAYS.c.account,
}
COLUMNS: Mapping[str, Column[Any]] = {
    "workspace_id": COSTS.c.workspace_id,
    "usage_type": COSTS.c.usage_type,
    "account": COSTS.c.account,
}


class CostFilters(Query):
    workspace_id: WorkspaceId | None = Field(default=None, description="Only costs of this WorkSpace.")
    usage_type: Name | None = Field(default=None, description="Only costs of this usage type.")
    start_date: Day | None = Field(default=None, description="Only costs on or after this day.")
    end_date: Day | None = Field(default=None, description="Only costs before this day.")


class ListCosts(CostFilters, PageQuery):
    """Filters and paging of the list."""


class SumCosts(Query):
    by: str = Field(default="month", pattern=_BY, description=f"What to sum by: {_GROUPS_NAMED}.")
    start_date: Day | None = Field(default=None, description="Only costs on or after this day.")
    end_date: Day | None = Field(default=None, description="Only costs before this day.")
    workspace_id: WorkspaceId | None = Field(default=None, description="Only costs of this WorkSpace.")
    account: Id | None = Field(default=None, description="Only costs of this account.")


class CostOut(Output):
    """The cost of one usage type on one day. Amounts are decimal strings."""

    model_config = example(
        {
            "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "account": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "day": "2026-01-31",
            "workspace_id": "ws-0a1b2c3d4",
            "service": "Amazon WorkSpaces",
            "usage_type": "EUC1-AW-HW-2-AutoStop-Usage",
            "region": "",
            "amount": "12.0101516483",
            "currency": "USD",
            "quantity": "8",
            "unit": "Hrs",
            "estimated": False,
        }
    )

    id: str
    account: str
    day: str
    workspace_id: str
    service: str
    usage_type: str
    region: str
    amount: Exact
    currency: str
    quantity: Exact
    unit: str
    estimated: bool

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        amount = joined(row["amount_whole"], row["amount_part"])
        return cls.unchecked(row, amount=amount, quantity=joined(row["quantity_whole"], row["quantity_part"]))


class SumOut(Output):
    """The sum of one group; `estimated` if AWS may still change part of it."""

    model_config = example(
        {"key": "2026-01", "amount": "3120.5500000001", "currency": "USD", "estimated": True, "rows": 310}
    )

    key: str
    amount: Exact
    currency: str
    estimated: bool
    rows: int


class SumsOut(Output):
    """Sums per group, and totals per currency; `truncated` if there are more groups than shown."""

    model_config = example(
        {"by": "month", "sums": [], "total": {"USD": "3120.5500000001"}, "truncated": False}
    )

    by: str
    sums: list[SumOut]
    total: dict[str, Exact]
    truncated: bool


def find(session: Session, query: CostFilters, page: PageQuery) -> Page[CostOut]:
    """Return one page, newest days first."""
    names = ("workspace_id", "usage_type")
    given = {name: value for name in names if (value := getattr(query, name)) is not None}
    walk = Walk(select(COSTS), COSTS.c.id)
    if given:
        first = next(iter(given))
        walk = Walk(select(COSTS).where(COLUMNS[first] == given.pop(first)), COSTS.c.id)
    bounds = [None if day is None else first_id(midnight(day)) for day in (query.end_date, query.start_date)]
    checked = [COLUMNS[name] == value for name, value in given.items()]
    return paginate(session, [walk.between(*bounds)], walk.key, page, CostOut.of, checked=checked)


def sums(session: Session, query: SumCosts) -> SumsOut:
    """Sum by group: months and days newest first, other groups largest first."""
    execute = session.connection().execute
    is_of_workspaces = query.by.startswith(OF_WORKSPACES)
    found_by = _summed_of_workspaces(query) if is_of_workspaces else _summed(query, query.by)
    rows = execute(found_by.limit(GROUPS_MAX + 1)).all()
    found = [
        SumOut(
            key=row[0],
            currency=row[1],
            amount=joined(row[2], row[3]),
            estimated=row[4] > 0,
            rows=row[5],
        )
        for row in rows[:GROUPS_MAX]
    ]
    if query.by in ("month", "day"):
        found.sort(key=lambda one: one.key, reverse=True)
    else:
        found.sort(key=lambda one: one.amount, reverse=True)
    total = {row[1]: joined(row[2], row[3]) for row in execute(_summed(query, None))}
    return SumsOut(by=query.by, sums=found, total=total, truncated=len(rows) > GROUPS_MAX)


def _summed(query: SumCosts, by: str | None) -> Select[Any]:
    """Sum by a group and currency, or only by currency; from the sums by day where these suffice."""
    if query.workspace_id is None and (by is None or by in GROUPS_OF_DAYS):
        table, groups = COST_DAYS, GROUPS_OF_DAYS
        figures = func.sum(COST_DAYS.c.estimated), func.sum(COST_DAYS.c.rows)
    else:
        table, groups = COSTS, GROUPS
        figures = func.sum(case((COSTS.c.estimated, 1), else_=0)), func.sum(literal(1))
    columns = table.c
    group = literal("") if by is None else groups[by]
    amount = func.sum(columns.amount_whole), func.sum(columns.amount_part)
    found = select(group, columns.currency, *amount, *figures)
    if query.start_date is not None:
        found = found.where(columns.day >= query.start_date.isoformat())
    if query.end_date is not None:
        found = found.where(columns.day < query.end_date.isoformat())
    for name in ("workspace_id", "account"):
        if getattr(query, name) is not None:
            found = found.where(columns[name] == getattr(query, name))
    return found.group_by(*([] if by is None else [group]), columns.currency).having(figures[1] > 0)


def _summed_of_workspaces(query: SumCosts) -> Select[Any]:
    """Sum by what WorkSpaces have now; costs without such a value are in the group ''.

    The costs of each WorkSpace are summed first, so that each is looked up once.
    """
    each = _summed(query, "workspace").subquery()
    joined_to = each.outerjoin(WORKSPACES, WORKSPACES.c.workspace_id == each.c[0])
    group: Any = WORKSPACES.c.directory_id
    if query.by.startswith(TAG):
        of_key = TAGS.c.key == query.by.removeprefix(TAG)
        joined_to = joined_to.outerjoin(TAGS, (TAGS.c.id == WORKSPACES.c.id) & of_key)
        group = TAGS.c.value
    found = func.coalesce(group, "")
    summed = select(found, each.c[1], *(func.sum(one) for one in [*each.c][2:])).select_from(joined_to)
    return summed.group_by(found, each.c[1])
