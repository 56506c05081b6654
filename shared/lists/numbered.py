"""Lists in an older form: pages by number, with totals, read along indexes.

Neither a page nor a total reads more than `ROWS_MAX` entries. New lists use `pagination`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import Field, model_validator
from sqlalchemy import Table, func, select, union_all
from sqlmodel import Session

from shared.http.schemas import Output, Query
from shared.lists.pagination import Walk, read, rows_of

LIMIT_MAX = 100
ROWS_MAX = 10_000  # the last row that a page can reach, and the largest total


class ByNumber(Query):
    page: int = Field(default=1, ge=1, le=ROWS_MAX, description="The page; the last row is the 10,000th.")
    limit: int = Field(default=20, ge=1, le=LIMIT_MAX, description="Rows per page.")

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.limit

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.offset >= ROWS_MAX:
            raise ValueError(f"pages end at row {ROWS_MAX}; use a filter to see older rows")
        return self

    def described(self, total: int) -> dict[str, int]:
        """Return the fields that a list has beside its rows."""
        pages = -(-total // self.limit)
        return {"total": total, "page": self.page, "limit": self.limit, "total_pages": pages}


class Numbered(Output):
    """A page; `total` counts up to 10,000 rows."""

    total: int
    page: int
    limit: int
    total_pages: int


def page_of(
    session: Session, table: Table, scopes: Sequence[Mapping[str, str | bool | None]], query: ByNumber
) -> tuple[list[dict[str, Any]], int]:
    """Return the rows of one page, newest first, and the total. Each row is in at most one scope."""
    if not scopes:
        return [], 0
    wanted = [
        select(table.c.id).where(*(table.c[name] == value for name, value in scope.items()))
        for scope in scopes
    ]
    walks = [Walk(one, table.c.id) for one in wanted]
    last = min(query.offset + query.limit, ROWS_MAX)
    ids = [row["id"] for row in read(session, walks, last)][query.offset :]
    named = select(table).where(table.c.id.in_(ids)).order_by(table.c.id.desc())
    rows = rows_of(session, named) if ids else []
    counted = union_all(*(select(one.limit(ROWS_MAX).subquery()) for one in wanted)).subquery()
    total = session.connection().execute(select(func.count()).select_from(counted)).scalar_one()
    return rows, min(int(total), ROWS_MAX)
