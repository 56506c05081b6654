"""What every service tells the dashboard: a few numbers about a person, or about everybody.

A service lists its numbers and adds `summary_operation(…)` to its operations. They are counted in one
statement, along indexes and up to a limit, so the cost does not grow with the tables.
"""

from collections.abc import Callable, Mapping
from typing import Any, Self

from pydantic import RootModel, model_validator
from sqlalchemy import Select, func, select
from sqlmodel import Session

from shared.http.operations import Operation
from shared.http.schemas import Id, Query
from shared.identity.tokens import internal

SUMMARY = "/internal/summary"
COUNTED_MAX = 10_000  # 10,000 means at least as many

Rows = Mapping[str, Select[Any]]
RowsOf = Callable[[str | None], Rows]


class AskSummary(Query):
    user_id: Id | None = None
    all: bool = False

    @model_validator(mode="after")
    def _either(self) -> Self:
        if self.all == (self.user_id is not None):
            raise ValueError("needs either user_id or all")
        return self


class Summary(RootModel[dict[str, int]]):
    """The numbers by name."""


def summary_operation(rows_of: RowsOf) -> Operation:
    """Return the operation. `rows_of` returns what to count for a person, or with None for everybody."""

    def show_summary(query: AskSummary, session: Session) -> Summary:
        """Return a few numbers about a person, or about everybody."""
        return counted(session, rows_of(query.user_id))

    return Operation("GET", SUMMARY, show_summary, access=internal)


def counted(session: Session, rows: Rows) -> Summary:
    """Count the rows of each statement, up to the limit, in one statement for all."""
    limited = {name: one.limit(COUNTED_MAX).subquery() for name, one in rows.items()}
    counts = [select(func.count()).select_from(one).scalar_subquery().label(n) for n, one in limited.items()]
    found = session.connection().execute(select(*counts)).one()
    return Summary(dict(zip(rows, map(int, found), strict=True)))
