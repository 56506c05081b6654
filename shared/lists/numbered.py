"""Pages by number, read along indexes: neither a page nor a total reads more than `ROWS_MAX` entries."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Table, func, select, union_all
from sqlmodel import Session

from services.support.classic.schemas import ROWS_MAX, ByNumber
from shared.lists.pagination import Walk, read, rows_of


def page_of(
    session: Session, table: Table, scopes: Sequence[Mapping[str, str]], query: ByNumber
) -> tuple[list[dict[str, Any]], int]:
    """Return the rows of one page, newest first, and the total. Each row is in at most one scope."""
    wanted = [
        select(table.c.id).where(*(table.c[name] == value for name, value in scope.items()))
        for scope in scopes
    ]
    walks = [Walk(one, table.c.id) for one in wanted]
    last = min(query.offset + query.limit, ROWS_MAX)
    ids = [row["id"] for row in read(session, walks, last)][query.offset :]
    rows = rows_of(session, select(table).where(table.c.id.in_(ids)).order_by(table.c.id.desc()))
    counted = union_all(*(select(one.limit(ROWS_MAX).subquery()) for one in wanted)).subquery()
    total = session.connection().execute(select(func.count()).select_from(counted)).scalar_one()
    return rows, min(int(total), ROWS_MAX)
