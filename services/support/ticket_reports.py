"""Reports about tickets: their times and states, without descriptions, replies and notes."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import select

from services.support.models import TICKETS
from services.support.states import SOLVED
from shared.clock import now
from shared.http.schemas import example
from shared.reports.schemas import ReportInput
from shared.reports.source import Figures, Group, Heading, Row, Source, Summary, cell

COLUMNS = """
number created updated status priority category subject user_id assigned_to first_reply_due first_replied
resolve_due resolved closed reopened_count reply_count satisfaction
""".split()
_NUMBERS = ("Tickets", "Unsolved", "First reply late", "Solved late", "Rated", "Average")
_HEADS = tuple(Heading(one, is_number=True) for one in _NUMBERS)


class TicketReportKind(StrEnum):
    """What a report lists or sums up."""

    TICKETS = "tickets"


class StartTicketReport(ReportInput):
    """A report about the tickets that were created in whole months (UTC)."""

    model_config = example({"kind": "tickets", "month": "2026-01", "months": 3, "format": "pdf"})

    kind: Annotated[TicketReportKind, Field(strict=False)] = TicketReportKind.TICKETS


def _figures(row: Row) -> Figures:
    """Count a ticket; the clock of its solution stands still while it waits for its owner."""
    is_solved, stars = row["status"] in SOLVED, row["satisfaction"]
    first_replied = row["first_replied"] or (None if is_solved else now())
    is_answered_late = first_replied is not None and first_replied > row["first_reply_due"]
    is_solved_late = (row["resolved"] or row["waiting_since"] or now()) > row["resolve_due"]
    counted = not is_solved, is_answered_late, is_solved_late, stars is not None
    return 1, *map(int, counted), stars or 0


def _shown(group: Group, figures: Figures) -> list[str]:
    *numbers, rated, stars = figures
    return [*group, *(f"{one:,}" for one in (*numbers, rated)), f"{stars / rated:.2f}" if rated else "none"]


def _cells(row: Mapping[Any, Any]) -> list[Any]:
    return [cell(row[name]) for name in COLUMNS]


SOURCES: Mapping[str, Source] = {
    TicketReportKind.TICKETS: Source(
        title="Tickets",
        statement=select(*(TICKETS.c[name] for name in ("id", "waiting_since", *COLUMNS))),
        key=TICKETS.c.id,
        header=COLUMNS,
        cells=_cells,
        summary=Summary(
            headings=(Heading("Month"), Heading("Priority"), *_HEADS),
            group=lambda row: (f"{row['created']:%Y-%m}", row["priority"]),
            figures=_figures,
            shown=_shown,
            total_headings=_HEADS,
            total_of=lambda _: (),
            total_shown=_shown,
        ),
    )
}
