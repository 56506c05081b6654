"""Reports about costs by day and usage by month, in the order of their ids, which begin with the time."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import Select, Subquery, select

from services.inventory.exact import joined, shortened
from services.inventory.models import COSTS, USAGE_MONTHS, WORKSPACES
from services.inventory.usage import hours
from shared.http.schemas import example
from shared.reports.schemas import ReportInput
from shared.reports.source import Figures, Group, Heading, Row, Source, Summary, cell

OF_COSTS = """
day workspace_id service usage_type region amount currency quantity unit estimated account
""".split()
OF_USAGE = """
month workspace_id user_name bundle_id running_mode hours source billed_hours clock_hours session_hours
connected_minutes sessions days first_day last_day
""".split()
_OF_WORKSPACE = ("user_name", "bundle_id", "running_mode")
_HOURS = {"hours": "hours", "billed_hours": "billed"}
_AMOUNTS = (Heading("Lines", is_number=True), Heading("Amount", is_number=True), Heading("Currency"))
_SUM_OF_HOURS = Heading("Hours", is_number=True)
MONTH_CHARACTERS = 7


class InventoryReportKind(StrEnum):
    """What a report lists or sums up."""

    COSTS = "costs"
    USAGE = "usage"


class StartInventoryReport(ReportInput):
    """A report about the costs of whole months (UTC), or the hours in which WorkSpaces were used."""

    model_config = example({"kind": "costs", "month": "2026-01", "months": 3, "format": "xlsx"})

    kind: Annotated[InventoryReportKind, Field(strict=False)]


def _cost_cells(row: Row) -> list[Any]:
    amounts = {
        name: shortened(joined(row[f"{name}_whole"], row[f"{name}_part"])) for name in ("amount", "quantity")
    }
    return [amounts[name] if name in amounts else cell(row[name]) for name in OF_COSTS]


def _cost_shown(group: Group, figures: Figures) -> list[str]:
    *_, currency = group
    return [*group[:-1], *_amount_shown((currency,), figures)]


def _amount_shown(of: Group, figures: Figures) -> list[str]:
    number, whole, part = figures
    return [f"{number:,}", f"{joined(whole, part):,.2f}", of[0]]


def _usage_cells(row: Row) -> list[Any]:
    return [_usage_cell(row, name) for name in OF_USAGE]


def _usage_cell(row: Row, name: str) -> Any:
    if name not in _HOURS:
        return cell(row[name])
    millionths = row[_HOURS[name]]
    return None if millionths is None else shortened(hours(millionths))


def _with_workspaces(some: Subquery) -> Select[Any]:
    """Add the user, bundle and running mode that each WorkSpace has now."""
    of = WORKSPACES.c
    known = some.outerjoin(WORKSPACES, of.workspace_id == some.c.workspace_id)
    return select(some, *(of[name] for name in _OF_WORKSPACE)).select_from(known)


def _usage_shown(group: Group, figures: Figures) -> list[str]:
    number, millionths = figures
    return [*group, f"{number:,}", f"{hours(millionths):,.1f}"]


SOURCES: Mapping[str, Source] = {
    InventoryReportKind.COSTS: Source(
        title="Costs",
        statement=select(COSTS),
        key=COSTS.c.id,
        header=OF_COSTS,
        cells=_cost_cells,
        summary=Summary(
            headings=(Heading("Month"), Heading("Service"), *_AMOUNTS),
            group=lambda row: (row["day"][:MONTH_CHARACTERS], row["service"], row["currency"]),
            figures=lambda row: (1, row["amount_whole"], row["amount_part"]),
            shown=_cost_shown,
            total_headings=_AMOUNTS,
            total_of=lambda group: group[2:],
            total_shown=_amount_shown,
        ),
    ),
    InventoryReportKind.USAGE: Source(
        title="Usage of WorkSpaces",
        statement=select(USAGE_MONTHS),
        key=USAGE_MONTHS.c.id,
        header=OF_USAGE,
        cells=_usage_cells,
        joined=_with_workspaces,
        summary=Summary(
            headings=(
                Heading("Month"),
                Heading("Hours from"),
                Heading("WorkSpaces", is_number=True),
                _SUM_OF_HOURS,
            ),
            group=lambda row: (row["month"], row["source"]),
            figures=lambda row: (1, row["hours"]),
            shown=_usage_shown,
            # Without the number: a WorkSpace of two months must not count as two.
            total_headings=(_SUM_OF_HOURS,),
            total_of=lambda _: (),
            total_shown=lambda of, figures: _usage_shown(of, figures)[1:],
        ),
    ),
}
