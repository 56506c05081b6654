"""Exports, streamed page by page so that memory use stays constant."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, Field
from sqlmodel import Session
from starlette.responses import Response, StreamingResponse

from services.inventory import costs, listing, trail, usage
from services.inventory.costs import CostFilters
from services.inventory.exact import shortened
from services.inventory.schemas import WorkspaceFilters
from services.inventory.trail import EventFilters
from services.inventory.usage import UsageFilters
from shared.clock import now
from shared.data.database import Database
from shared.http.schemas import Page, Query
from shared.lists.pagination import PAGE_ROWS_MAX, PageQuery
from shared.lists.spreadsheets import csv_lines
from shared.lists.workbooks import MEDIA_TYPE, Workbook

CSV = "text/csv"
ANSWER_TYPES = (CSV, MEDIA_TYPE)


class Format(Query):
    """The format of an export."""

    format: Literal["csv", "xlsx", "excel"] = Field(
        default="csv", description="`csv` with a header line, or `xlsx`; `excel` is another name for it."
    )


class ExportWorkspaces(WorkspaceFilters, Format):
    """Filters and format of an export of WorkSpaces."""


class ExportUsage(UsageFilters, Format):
    """Filters and format of an export of usage."""


class ExportCosts(CostFilters, Format):
    """Filters and format of an export of costs."""


class ExportEvents(EventFilters, Format):
    """Filters and format of an export of CloudTrail events."""


Find = Callable[[Session, Any, PageQuery], Page[Any]]


@dataclass(frozen=True, slots=True)
class Export:
    """A list that can be exported: its name, its query and its columns."""

    name: str
    find: Find
    columns: Sequence[str]


WORKSPACES = Export(
    "workspaces",
    listing.find,
    """
    workspace_id user_name state running_mode region account directory_id bundle_id bundle_name
    compute_type os computer_name ip_address root_gib user_gib auto_stop_minutes encrypted_root
    encrypted_user connection_state last_connection tags first_seen last_seen gone
    """.split(),
)
USAGE = Export(
    "usage",
    usage.find,
    """
    month workspace_id user_name bundle_id running_mode hours source billed_hours clock_hours session_hours
    connected_minutes sessions days first_day last_day
    """.split(),
)
COSTS = Export(
    "billing",
    costs.find,
    """
    day workspace_id service usage_type region amount currency quantity unit estimated account
    """.split(),
)
EVENTS = Export(
    "cloudtrail",
    trail.find,
    """
    at name username source_ip workspaces error_code region account source event_id request response
    """.split(),
)


Pages = AsyncIterator[list[list[Any]]]


def download(export: Export, query: Format, database: Database, most: int) -> Response:
    """Respond with a file of at most `most` rows."""
    return respond(export.name, export.columns, _pages(export, query, database, most), query, most)


def respond(name: str, columns: Sequence[str], pages: Pages, query: Format, most: int) -> Response:
    """Respond with a file of a header line and these rows."""
    is_csv = query.format == "csv"
    ending = "csv" if is_csv else "xlsx"
    headers = {
        "Content-Disposition": f'attachment; filename="{name}-{now():%Y-%m-%d}.{ending}"',
        "X-Row-Limit": str(most),
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    if is_csv:
        return StreamingResponse(_csv(columns, pages), headers=headers, media_type="text/csv; charset=utf-8")
    return StreamingResponse(_xlsx(columns, pages), headers=headers, media_type=MEDIA_TYPE)


async def _pages(export: Export, query: BaseModel, database: Database, most: int) -> Pages:
    left = most
    cursor: str | None = None
    while left > 0:
        wanted = PageQuery(limit=min(PAGE_ROWS_MAX, left), cursor=cursor)
        page = await database.read(export.find, query, wanted)
        yield [[getattr(row, name) for name in export.columns] for row in page.items]
        left, cursor = left - len(page.items), page.next
        if cursor is None:
            return


async def _csv(columns: Sequence[str], pages: Pages) -> AsyncIterator[bytes]:
    yield csv_lines([columns])
    async for rows in pages:
        yield csv_lines([_cell(value) for value in row] for row in rows)


async def _xlsx(columns: Sequence[str], pages: Pages) -> AsyncIterator[bytes]:
    book = Workbook()
    yield book.rows([columns])
    async for rows in pages:
        yield book.rows([_cell(value) for value in row] for row in rows)
    yield book.end()


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds").replace("+00:00", "Z")
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    if isinstance(value, Decimal):
        return shortened(value)
    return value
