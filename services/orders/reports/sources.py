"""What reports read: orders or invoices in the order of their ids, which begin with the time."""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Table, select

from services.orders.invoices.layout import money
from services.orders.models import INVOICES, ORDERS
from services.orders.reports.schemas import ReportKind
from shared.data.money import from_minor
from shared.reports.source import Figures, Group, Heading, Row, Source, Summary, cell

_SUM = (Heading("Number", is_number=True), Heading("Total", is_number=True), Heading("Currency"))


def _source(title: str, table: Table, columns: str, state: str, moment: str, **totals: Any) -> Source:
    """Return a source with these columns, which sums up by month, state and currency."""
    names = columns.split()
    read = dict.fromkeys(("id", *names, state, moment))

    def group(row: Row) -> Group:
        return f"{row[moment]:%Y-%m}", row[state], row["currency"]

    return Source(
        title=title,
        statement=select(*(table.c[name] for name in read)),
        key=table.c.id,
        header=["total" if name == "total_minor" else name for name in names],
        cells=_cells(names),
        summary=Summary(
            headings=(Heading("Month"), Heading(state.capitalize()), *_SUM),
            group=group,
            figures=lambda row: (1, row["total_minor"]),
            shown=_shown,
            **totals,
        ),
    )


def _cells(names: list[str]) -> Callable[[Row], list[Any]]:
    def cells(row: Row) -> list[Any]:
        amount = from_minor(row["total_minor"], row["currency"])
        return [amount if name == "total_minor" else cell(row[name]) for name in names]

    return cells


def _shown(group: Group, figures: Figures) -> list[str]:
    month, state, currency = group
    return [month, state.replace("_", " "), *_total_shown((currency,), figures)]


def _total_shown(of: Group, figures: Figures) -> list[str]:
    number, minor = figures
    return [f"{number:,}", money(minor, of[0]), of[0]]


SOURCES: Mapping[str, Source] = {
    ReportKind.ORDERS: _source(
        "Orders",
        ORDERS,
        "id created updated user_id status product_name quantity total_minor currency",
        "status",
        "created",
        total_headings=_SUM,
        total_of=lambda group: group[2:],
        total_shown=_total_shown,
    ),
    # Without totals: invoices and what credits them must not be added up as if both were income.
    ReportKind.INVOICES: _source(
        "Invoices and credit notes",
        INVOICES,
        "number kind issued order_id user_id total_minor currency",
        "kind",
        "issued",
    ),
}
