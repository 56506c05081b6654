"""What reports read: orders or invoices in the order of their ids, which begin with the time.

Each portion is a range of the primary key, so its cost depends neither on the table nor on what was read
before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Table, func, select
from sqlmodel import Session

from services.orders.models import INVOICES, ORDERS
from services.orders.reports.schemas import ReportKind
from shared.data.money import from_minor

PORTION_ROWS = 1_000

Group = tuple[str, str, str]  # month, state, currency


@dataclass(frozen=True, slots=True)
class Source:
    """A table, the columns of a file with rows, and the column by which a PDF sums up."""

    table: Table
    columns: Sequence[str]
    state: str
    moment: str

    @property
    def header(self) -> list[str]:
        return ["total" if name == "total_minor" else name for name in self.columns]


SOURCES: Mapping[ReportKind, Source] = {
    ReportKind.ORDERS: Source(
        ORDERS,
        "id created updated user_id status product_name quantity total_minor currency".split(),
        "status",
        "created",
    ),
    ReportKind.INVOICES: Source(
        INVOICES, "number kind issued order_id user_id total_minor currency".split(), "kind", "issued"
    ),
}


class Portion(NamedTuple):
    """Some rows: their cells, their sums of number and amount, and the id of the last one."""

    cells: list[list[Any]]
    last: str
    sums: dict[Group, tuple[int, int]]


def count(session: Session, kind: ReportKind, begin: str, end: str, most: int) -> int:
    """Count the rows between two ids, up to `most`."""
    key = SOURCES[kind].table.c.id
    some = select(key).where(key > begin, key < end).limit(most).subquery()
    number: int = session.connection().execute(select(func.count()).select_from(some)).scalar_one()
    return number


def portion(session: Session, kind: ReportKind, after: str, end: str) -> Portion | None:
    """Read the next rows after an id; None if there are none."""
    source = SOURCES[kind]
    names = dict.fromkeys(("id", *source.columns, source.state, source.moment))
    table = source.table
    wanted = select(*(table.c[name] for name in names)).where(table.c.id > after, table.c.id < end)
    found = session.connection().execute(wanted.order_by(table.c.id).limit(PORTION_ROWS)).mappings().all()
    if not found:
        return None
    sums: dict[Group, tuple[int, int]] = {}
    for row in found:
        group = f"{row[source.moment]:%Y-%m}", row[source.state], row["currency"]
        number, minor = sums.get(group, (0, 0))
        sums[group] = number + 1, minor + row["total_minor"]
    cells = [[_cell(row, name) for name in source.columns] for row in found]
    return Portion(cells, found[-1]["id"], sums)


def _cell(row: Mapping[Any, Any], name: str) -> Any:
    value = row[name]
    if name == "total_minor":
        return from_minor(value, row["currency"])
    return value.isoformat().replace("+00:00", "Z") if hasattr(value, "isoformat") else value
