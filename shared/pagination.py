"""Keyset paging: a page costs the same however deep it lies, and rows added meanwhile shift nothing."""

import base64
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import BaseModel, Field, TypeAdapter
from sqlalchemy import Column, Select, Table, bindparam, select
from sqlmodel import Session

from shared.errors import FieldFault, Invalid
from shared.schemas import Id, Page, Query
from shared.statements import Rows

Out = TypeVar("Out", bound=BaseModel)

PAGE_ROWS = 50
PAGE_ROWS_MAX = 200
LISTINGS_MAX = 200  # sets of columns in use
_ID = TypeAdapter[str](Id)


class PageQuery(Query):
    """The parameters of every list."""

    limit: int = Field(default=PAGE_ROWS, ge=1, le=PAGE_ROWS_MAX, description="Rows per page.")
    cursor: str | None = Field(
        default=None, max_length=200, description="Where the page starts; taken from `Link`."
    )


def paginate(
    session: Session,
    statement: Select[Any],
    key: Column[str],
    query: PageQuery,
    make: Callable[[dict[str, Any]], Out],
) -> Page[Out]:
    """One page, newest first.

    `key` is a column of time-ordered ids that the statement selects; `make` turns the values of a row, by
    column name, into an answer.
    """
    if query.cursor is not None:
        statement = statement.where(key < _decode(query.cursor))
    result = session.connection().execute(statement.order_by(key.desc()).limit(query.limit + 1))
    names = tuple(result.keys())
    rows = [dict(zip(names, row, strict=True)) for row in result.all()]
    return _page(rows, key.key, query, make)


def paginate_equal(
    session: Session,
    table: Table,
    values: Mapping[str, Any],
    query: PageQuery,
    make: Callable[[dict[str, Any]], Out],
) -> Page[Out]:
    """One page, newest first, of the rows of a table whose columns have these values.

    The statement is the same for each set of columns, and compiled once.
    """
    after = {} if query.cursor is None else {"cursor": _decode(query.cursor)}
    listing = _listing(table, tuple(values), bool(after))
    rows = listing.rows(session, rows_max=query.limit + 1, **after, **values)
    return _page(rows, "id", query, make)


@lru_cache(maxsize=LISTINGS_MAX)
def _listing(table: Table, columns: tuple[str, ...], is_following: bool) -> Rows:
    statement = select(table).where(*(table.c[name] == bindparam(name) for name in columns))
    if is_following:
        statement = statement.where(table.c.id < bindparam("cursor"))
    return Rows(statement.order_by(table.c.id.desc()).limit(bindparam("rows_max")))


def _page(
    rows: list[dict[str, Any]], key: str, query: PageQuery, make: Callable[[dict[str, Any]], Out]
) -> Page[Out]:
    """The rows asked for, and the cursor of the next page when there was one row more."""
    page = rows[: query.limit]
    following = _encode(page[-1][key]) if len(rows) > query.limit else None  # before `make` takes the row
    return Page[Out].model_construct(items=[make(row) for row in page], next=following)


def _encode(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def _decode(cursor: str) -> str:
    padded = cursor + "=" * (-len(cursor) % 4)
    try:
        return _ID.validate_python(base64.urlsafe_b64decode(padded).decode("ascii"))
    except ValueError as error:
        message = "Take the cursor from the Link header of the page before."
        raise Invalid(errors=[FieldFault(field="cursor", code="invalid_cursor", message=message)]) from error
