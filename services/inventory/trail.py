"""Queries over CloudTrail events."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints
from sqlalchemy import Column, select
from sqlmodel import Session

from services.inventory.models import TRAIL, TRAIL_WORKSPACES
from services.inventory.schemas import WorkspaceId
from shared.http.schemas import Output, Page, Query, example
from shared.ids import first_id
from shared.lists.named import page_of_named
from shared.lists.pagination import PageQuery, Walk, paginate
from shared.lists.times import Time

Name = Annotated[str, StringConstraints(min_length=1, max_length=300)]
COLUMNS: Mapping[str, Column[Any]] = {"username": TRAIL.c.username, "name": TRAIL.c.name}


class EventFilters(Query):
    workspace_id: WorkspaceId | None = Field(default=None, description="Only calls that name this WorkSpace.")
    name: Name | None = Field(
        default=None, description="Only calls with this name, for example StopWorkspaces."
    )
    username: Name | None = Field(default=None, description="Only calls by this user.")
    start: Time | None = Field(default=None, description="Only calls at or after this time.")
    end: Time | None = Field(default=None, description="Only calls before this time.")


class ListEvents(EventFilters, PageQuery):
    """Filters and paging of the list."""


class EventOut(Output):
    """A call to the WorkSpaces API."""

    model_config = example(
        {
            "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "event_id": "6f1c0f5e-0000-4000-8000-000000000001",
            "account": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "region": "eu-central-1",
            "name": "StopWorkspaces",
            "at": "2026-01-31T12:00:00Z",
            "source": "workspaces.amazonaws.com",
            "username": "ops",
            "source_ip": "192.0.2.7",
            "error_code": None,
            "workspaces": ["ws-0a1b2c3d4"],
            "request": {"stopWorkspaceRequests": [{"workspaceId": "ws-0a1b2c3d4"}]},
            "response": None,
            "identity": {"type": "IAMUser"},
        }
    )

    id: str
    event_id: str
    account: str
    region: str
    name: str
    at: datetime
    source: str | None
    username: str | None
    source_ip: str | None
    error_code: str | None
    workspaces: list[str]
    request: Any
    response: Any
    identity: Any

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        written = ("workspaces", "request", "response", "identity")
        return cls.unchecked(row, **{name: json.loads(row[name]) for name in written})


def find(session: Session, query: EventFilters, page: PageQuery) -> Page[EventOut]:
    """Return one page, newest first; `start` and `end` become bounds on the ids, which sort by time."""
    given = {name: value for name in COLUMNS if (value := getattr(query, name)) is not None}
    since = id_bound(query.start) if query.start else None
    until = id_bound(query.end) if query.end else None
    if query.workspace_id is not None:
        named = TRAIL_WORKSPACES.c
        of_it = select(named.id).where(named.workspace_id == query.workspace_id)
        walk = Walk(of_it, named.id, until, since)
        checked = [COLUMNS[name] == value for name, value in given.items()]
        return page_of_named(session, walk, TRAIL, page, EventOut.of, checked)
    if given:
        first = next(iter(given))
        walk = Walk(select(TRAIL).where(COLUMNS[first] == given.pop(first)), TRAIL.c.id)
    else:
        walk = Walk(select(TRAIL), TRAIL.c.id)
    checked = [COLUMNS[name] == value for name, value in given.items()]
    return paginate(session, [walk.between(until, since)], walk.key, page, EventOut.of, checked=checked)


def id_bound(moment: datetime) -> str:
    """Return the smallest id at or after this time, rounded up to a whole millisecond."""
    rest = moment.microsecond % 1000
    return first_id(moment + timedelta(microseconds=(1000 - rest) if rest else 0))
