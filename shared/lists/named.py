"""Pages of rows found through another table: WorkSpaces by tag, members of the team by skill.

The ids are read first and their rows second; given a join, a planner may join all rows before it limits them.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel
from sqlalchemy import ColumnElement, Table, select
from sqlmodel import Session

from shared.http.schemas import Page
from shared.lists.pagination import PageQuery, Walk, decode, page_of, rows_of

Out = TypeVar("Out", bound=BaseModel)

NAMED_ROWS = 250  # read per page, before filters


def page_of_named(
    session: Session,
    named: Walk,
    table: Table,
    page: PageQuery,
    make: Callable[[dict[str, Any]], Out],
    checked: Sequence[ColumnElement[bool]],
) -> Page[Out]:
    """Return one page, newest first, of the rows of `table` whose ids `named` walks."""
    before = None if page.cursor is None else decode(page.cursor)
    ids = named.between(before, None).bounded.order_by(named.key.desc()).limit(NAMED_ROWS)
    found = [*session.connection().execute(ids).scalars()]
    if not found:
        return page_of([], table.c.id, page, make)
    wanted = select(table).where(table.c.id.in_(found), *checked).order_by(table.c.id.desc())
    rows = rows_of(session, wanted.limit(page.limit + 1))
    return page_of(rows, table.c.id, page, make, found[-1] if len(found) == NAMED_ROWS else None)
