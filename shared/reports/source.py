"""What reports are about: rows in the order of their ids, which begin with the time.

Each portion is a range of the ids, so its cost depends neither on the table nor on what was read before.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Column, Select, Subquery, func, select
from sqlmodel import Session

PORTION_ROWS = 1_000

Row = Mapping[Any, Any]
Group = tuple[str, ...]  # begins with the month
Figures = tuple[int, ...]


class Heading(NamedTuple):
    """The head of a column in a PDF."""

    text: str
    is_number: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How a PDF sums rows up: by group, in whole numbers, which are formatted once they are complete."""

    headings: Sequence[Heading]
    group: Callable[[Row], Group]
    figures: Callable[[Row], Figures]
    shown: Callable[[Group, Figures], Sequence[str]]
    # The totals at the end; without headings there are none.
    total_headings: Sequence[Heading] = ()
    total_of: Callable[[Group], Group] = lambda group: group
    total_shown: Callable[[Group, Figures], Sequence[str]] = lambda group, _: group


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A list: its statement, the id by which it is read, the cells of a row, and its summary.

    `joined` adds columns to a portion of the rows.
    """

    title: str
    statement: Select[Any]
    key: Column[str]
    header: Sequence[str]
    cells: Callable[[Row], list[Any]]
    summary: Summary
    joined: Callable[[Subquery], Select[Any]] | None = None


class Portion(NamedTuple):
    """Some rows: their cells, the figures of their groups, and the id of the last one."""

    cells: list[list[Any]]
    last: str
    sums: dict[Group, Figures]


def count(session: Session, source: Source, begin: str, end: str, most: int) -> int:
    """Count the rows between two ids, up to `most`."""
    some = select(source.key).where(source.key > begin, source.key < end).limit(most).subquery()
    number: int = session.connection().execute(select(func.count()).select_from(some)).scalar_one()
    return number


def portion(session: Session, source: Source, after: str, end: str) -> Portion | None:
    """Read the next rows after an id; None if there are none."""
    key = source.key
    wanted = source.statement.where(key > after, key < end).order_by(key).limit(PORTION_ROWS)
    if source.joined is not None:
        some = wanted.subquery()
        wanted = source.joined(some).order_by(some.c[key.name])
    found = session.connection().execute(wanted).mappings().all()
    if not found:
        return None
    sums: dict[Group, Figures] = {}
    for row in found:
        group, figures = source.summary.group(row), source.summary.figures(row)
        sums[group] = added(sums.get(group), figures)
    return Portion([source.cells(row) for row in found], found[-1][key.name], sums)


def added(before: Figures | None, figures: Figures) -> Figures:
    """Add up two lines of figures, one by one."""
    if before is None:
        return figures
    return tuple(one + other for one, other in zip(before, figures, strict=True))


def cell(value: Any) -> Any:
    """Return a stored value as it appears in a file."""
    if isinstance(value, bool):
        return "Yes" if value else "No"
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value
