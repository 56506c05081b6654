"""The history of one WorkSpace: what syncs found changed, and the calls that name it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, Self

from sqlalchemy import select
from sqlmodel import Session

from services.inventory.models import CHANGES, TRAIL, TRAIL_WORKSPACES
from shared.http.schemas import Output, Page, example
from shared.lists.pagination import PageQuery, Walk, decode, page_of, read, rows_of

_CALL = [TRAIL.c[name] for name in ("id", "at", "name", "username", "source_ip", "error_code")]


class HistoryOut(Output):
    """A change that a sync found, at its time, or a call; `/cloudtrail/{id}` has its details."""

    model_config = example(
        {
            "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "at": "2026-01-31T12:00:00Z",
            "kind": "change",
            "field": "state",
            "before": "AVAILABLE",
            "after": "STOPPED",
            "name": None,
            "username": None,
            "source_ip": None,
            "error_code": None,
        }
    )

    id: str
    at: datetime
    kind: Literal["change", "call"]
    field: str | None
    before: str | None
    after: str | None
    name: str | None
    username: str | None
    source_ip: str | None
    error_code: str | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        empty = dict.fromkeys(cls.model_fields)
        return cls.unchecked({**empty, **row}, kind="change" if "field" in row else "call")


def find(session: Session, workspace_id: str, page: PageQuery) -> Page[HistoryOut]:
    """Return one page, newest first. The ids of both tables sort by time."""
    before, most = None if page.cursor is None else decode(page.cursor), page.limit + 1
    names = [CHANGES.c[name] for name in ("id", "at", "field", "before", "after")]
    of_it = select(*names).where(CHANGES.c.workspace_id == workspace_id)
    changes = read(session, [Walk(of_it, CHANGES.c.id, before)], most)
    named = TRAIL_WORKSPACES.c
    calls_of_it = Walk(select(named.id).where(named.workspace_id == workspace_id), named.id, before)
    # The ids first: given a join, a planner may join all calls before it limits them.
    ids = [*session.connection().execute(calls_of_it.newest(most)).scalars()]
    calls = rows_of(session, select(*_CALL).where(TRAIL.c.id.in_(ids))) if ids else []
    rows = sorted([*changes, *calls], key=lambda row: str(row["id"]), reverse=True)
    return page_of(rows[:most], CHANGES.c.id, page, HistoryOut.of)
