"""Numbers of WorkSpaces and sums of hours, kept up to date in the transactions that change the rows.

Without them, the dashboard would count all rows again after each page that a sync has read.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Table
from sqlmodel import Session

from services.inventory.models import HOUR_SUMS, WORKSPACE_COUNTS
from shared.data.database import insert_into

Row = Mapping[str, Any]
Before = Row | None  # None: the row is new
_STATE = ("presence", "state", "running_mode")


def count_workspaces(session: Session, changes: Iterable[tuple[Before, Row]]) -> None:
    """Count WorkSpaces that are new or changed; each change is the row before and after."""
    numbers = Counter[tuple[str, ...]]()
    for before, after in changes:
        numbers[_state_of(after)] += 1
        if before is not None:
            numbers[_state_of(before)] -= 1
    add(session, WORKSPACE_COUNTS, {key: (number,) for key, number in numbers.items()})


def _state_of(row: Row) -> tuple[str, ...]:
    return tuple(row[name] or "" for name in _STATE)


def sum_hours(session: Session, month: str, changes: Iterable[tuple[Before, Row]]) -> None:
    """Add the hours of WorkSpaces in a month; each change is the row before and after."""
    sums: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0, 0])
    for before, after in changes:
        for sign, row in ((1, after), (-1, before)):
            if row is not None:
                one = sums[month, row["source"]]
                one[:] = one[0] + sign, one[1] + sign * row["hours"]
    add(session, HOUR_SUMS, sums)


def add(session: Session, table: Table, changes: Mapping[tuple[str, ...], Sequence[int]]) -> None:
    """Add to the sums of these keys, which are the table's primary key."""
    keys = [column.name for column in table.primary_key]
    summed = [column.name for column in table.c if not column.primary_key]
    values = [
        dict(zip((*keys, *summed), (*key, *change), strict=True))
        for key, change in sorted(changes.items())  # so that transactions lock the rows in the same order
        if any(change)
    ]
    if not values:
        return
    put = insert_into(session, table)
    sums = {name: table.c[name] + put.excluded[name] for name in summed}
    session.connection().execute(put.on_conflict_do_update(index_elements=keys, set_=sums), values)
