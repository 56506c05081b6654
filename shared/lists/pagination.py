"""Keyset pagination: the cost of a page does not depend on its depth, and new rows do not shift pages.

Pages are read along an index. Conditions without an index are checked row by row, in a window of at most
`WINDOW_ROWS` rows. Such a page may have fewer rows than requested, even none, and still have a next page.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import BaseModel, Field, TypeAdapter
from sqlalchemy import Column, ColumnElement, Select, Table, bindparam, select, union_all
from sqlalchemy.sql.util import ClauseAdapter
from sqlmodel import Session

from shared.data.reading import Reader
from shared.data.statements import Rows
from shared.errors import FieldFault, Invalid
from shared.http.schemas import Id, Page, Query

Out = TypeVar("Out", bound=BaseModel)

PAGE_ROWS = 50
PAGE_ROWS_MAX = 200
LISTINGS_MAX = 200  # compiled statements to cache, one per set of columns
WINDOW_ROWS = 500
_ID = TypeAdapter[str](Id)


class PageQuery(Query):
    """The parameters of every list."""

    limit: int = Field(default=PAGE_ROWS, ge=1, le=PAGE_ROWS_MAX, description="Rows per page.")
    cursor: str | None = Field(
        default=None, max_length=200, description="Where the page starts; take it from `Link`."
    )


@dataclass(frozen=True, slots=True)
class Walk:
    """Rows that one index holds in key order."""

    statement: Select[Any]
    key: Column[str]
    before: str | None = None
    floor: str | None = None

    def between(self, before: str | None, floor: str | None) -> "Walk":
        """Narrow to the rows with `floor` <= key < `before`.

        Given two bounds on one side, SQLite may start at the looser one, so only the tighter one is kept.
        """
        lowest = min((one for one in (before, self.before) if one is not None), default=None)
        highest = max((one for one in (floor, self.floor) if one is not None), default=None)
        return Walk(self.statement, self.key, lowest, highest)

    @property
    def bounded(self) -> Select[Any]:
        statement = self.statement
        if self.before is not None:
            statement = statement.where(self.key < self.before)
        if self.floor is not None:
            statement = statement.where(self.key >= self.floor)
        return statement

    def newest(self, rows: int, checked: Sequence[ColumnElement[bool]] = ()) -> Select[Any]:
        """Select the newest rows; with `checked`, only from a window of rows.

        The inner limit keeps planners from choosing an index for the checked conditions. The outer order
        is needed for conditions with a subquery: PostgreSQL may turn the subquery into a join that starts at
        the other table.
        """
        ordered = self.bounded.order_by(self.key.desc())
        if not checked:
            return ordered.limit(rows)
        window = ordered.limit(WINDOW_ROWS).subquery()
        outside = ClauseAdapter(window)
        found = select(window).where(*(outside.traverse(one) for one in checked))
        return found.order_by(window.c[self.key.key].desc()).limit(rows)


def paginate(
    session: Session,
    statement: Select[Any] | Sequence[Walk],
    key: Column[str],
    query: PageQuery,
    make: Callable[[dict[str, Any]], Out],
    *,
    checked: Sequence[ColumnElement[bool]] = (),
) -> Page[Out]:
    """Return one page, newest first.

    `key` is a selected column of time-ordered ids; `make` turns a row's values, by column name, into an item.
    Several walks are merged; no row may be in two of them. Each statement should be covered by an index that
    ends in the key; conditions without an index are `checked` row by row.
    """
    walks = [Walk(statement, key)] if isinstance(statement, Select) else statement
    before = None if query.cursor is None else decode(query.cursor)
    walks = [walk.between(before, None) for walk in walks]
    floor = window_floor(session, walks) if checked else None
    rows = read(session, [one.between(None, floor) for one in walks], query.limit + 1, checked)
    return page_of(rows, key, query, make, floor)


def window_floor(session: Session, walks: Sequence[Walk]) -> str | None:
    """Return the last key of a window; None if the window covers all rows."""
    keys = [replace(walk, statement=walk.statement.with_only_columns(walk.key)) for walk in walks]
    if not keys:
        return None
    last = _merged(keys, WINDOW_ROWS).limit(1).offset(WINDOW_ROWS - 1)
    found: str | None = session.connection().execute(last).scalar_one_or_none()
    return found


def read(
    session: Session, walks: Sequence[Walk], rows: int, checked: Sequence[ColumnElement[bool]] = ()
) -> list[dict[str, Any]]:
    """Return the newest rows of all walks, by column name; with `checked`, only from a window."""
    return rows_of(session, _merged(walks, rows, checked)) if walks else []


def rows_of(session: Session, statement: Select[Any]) -> list[dict[str, Any]]:
    """Return the rows of a statement, by column name."""
    result = session.connection().execute(statement)
    names = tuple(result.keys())
    return [dict(zip(names, row, strict=True)) for row in result.all()]


def paginate_equal(
    session: Reader,
    table: Table,
    values: Mapping[str, Any],
    query: PageQuery,
    make: Callable[[dict[str, Any]], Out],
) -> Page[Out]:
    """Return one page, newest first, of the rows whose columns have these values.

    The statement is compiled once per set of columns.
    """
    after = {} if query.cursor is None else {"cursor": decode(query.cursor)}
    listing = _listing(table, tuple(values), bool(after))
    rows = listing.rows(session, rows_max=query.limit + 1, **after, **values)
    return page_of(rows, table.c.id, query, make)


@lru_cache(maxsize=LISTINGS_MAX)
def _listing(table: Table, columns: tuple[str, ...], is_following: bool) -> Rows:
    statement = select(table).where(*(table.c[name] == bindparam(name) for name in columns))
    if is_following:
        statement = statement.where(table.c.id < bindparam("cursor"))
    return Rows(statement.order_by(table.c.id.desc()).limit(bindparam("rows_max")))


def page_of(
    rows: list[dict[str, Any]],
    key: Column[str],
    query: PageQuery,
    make: Callable[[dict[str, Any]], Out],
    floor: str | None = None,
) -> Page[Out]:
    """Return the page of these rows; one row beyond the limit, or a `floor`, means that there is more."""
    page = rows[: query.limit]
    last = page[-1][key.key] if len(rows) > query.limit else floor  # read before `make` consumes the row
    items = [make(row) for row in page]
    return Page[Out].model_construct(items=items, next=None if last is None else _encode(last))


def _merged(walks: Sequence[Walk], rows: int, checked: Sequence[ColumnElement[bool]] = ()) -> Select[Any]:
    return newest_of([walk.newest(rows, checked) for walk in walks], walks[0].key, rows)


def newest_of(parts: Sequence[Select[Any]], key: Column[str], rows: int) -> Select[Any]:
    """Merge the newest rows of each part into the newest overall."""
    if len(parts) == 1:
        return parts[0]
    together = union_all(*(select(part.subquery()) for part in parts)).subquery()
    return select(together).order_by(together.c[key.key].desc()).limit(rows)


def _encode(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def decode(cursor: str) -> str:
    padded = cursor + "=" * (-len(cursor) % 4)
    try:
        return _ID.validate_python(base64.urlsafe_b64decode(padded).decode("ascii"))
    except ValueError as error:
        message = "is not a cursor; take it from the Link header of the previous page"
        raise Invalid(errors=[FieldFault(field="cursor", code="invalid_cursor", message=message)]) from error
