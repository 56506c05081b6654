"""Exports of WorkSpaces, streamed page by page so that memory use stays constant."""

import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from services.inventory import listing
from services.inventory.schemas import WorkspaceFilters
from shared.data.database import Database
from shared.lists.pagination import PAGE_ROWS_MAX, PageQuery
from shared.lists.spreadsheets import csv_lines

COLUMNS = """
    workspace_id user_name state running_mode region account directory_id bundle_id bundle_name
    compute_type os computer_name ip_address root_gib user_gib auto_stop_minutes encrypted_root
    encrypted_user connection_state last_connection tags first_seen last_seen gone
""".split()


async def workspaces_csv(database: Database, query: WorkspaceFilters, most: int) -> AsyncIterator[bytes]:
    """Yield a header line, then at most `most` WorkSpaces."""
    yield csv_lines([COLUMNS])
    left = most
    cursor: str | None = None
    while left > 0:
        wanted = PageQuery(limit=min(PAGE_ROWS_MAX, left), cursor=cursor)
        page = await database.read(listing.find, query, wanted)
        yield csv_lines([_cell(getattr(row, name)) for name in COLUMNS] for row in page.items)
        left, cursor = left - len(page.items), page.next
        if cursor is None:
            return


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds").replace("+00:00", "Z")
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    return value
