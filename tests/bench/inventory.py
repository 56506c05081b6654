"""`python -m tests.bench.inventory [sqlite|postgresql]`: the inventory with 100,000 WorkSpaces.

There are 3 million days of usage, their months, and a million costs of this month. A figure is the CPU time
of one call in milliseconds, the lowest of three, with the PostgreSQL process if there is one.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Table, insert
from sqlmodel import Session

from services.inventory import listing
from services.inventory.dashboard import Dashboard
from services.inventory.dated import dated_id, first_day, midnight, month_of
from services.inventory.exporting import USAGE, ExportUsage, _csv, _pages
from services.inventory.handlers.workspaces import show_filter_options
from services.inventory.models import COSTS, SCANS, TAGS, USAGE_DAYS, USAGE_MONTHS, WORKSPACES
from services.inventory.schemas import WorkspaceFilters
from services.inventory.sync.source import Place
from services.inventory.sync.workspaces import Workspaces
from shared.clock import now
from shared.data.database import Database
from shared.data.migrate import upgrade
from shared.ids import new_id
from shared.lists.pagination import PageQuery
from tests import lists, support
from tests.bench.lists import _server_ms
from tests.bench.processes import resident_mib
from tests.lists import LISTS

WORKSPACES_MADE, DAYS, MONTHS, COST_ROWS = 100_000, 30, 12, 1_000_000
TRIES = 3
WANTED_MS = 30.0
TODAY = now().date()
ACCOUNT = new_id()


def main() -> None:
    kinds = sys.argv[1:] or ["sqlite", "postgresql"]
    if "sqlite" in kinds:
        with tempfile.TemporaryDirectory() as folder:
            _measure(f"sqlite:///{folder}/inventory.db")
    if "postgresql" in kinds:
        with support.postgresql() as server, support.new_database(server, "inventory") as url:
            _measure(url)


def _measure(url: str) -> None:
    upgrade(url, Path("services/inventory/migrations"))
    began = time.monotonic()
    _fill(url)
    database = Database(url, 2)
    print(f"\n{database.url.get_backend_name()}, filled in {time.monotonic() - began:.0f} s", flush=True)
    dashboard = Dashboard()
    _show("dashboard, the first after a sync of costs", database, dashboard.work_out)
    _show("dashboard, every 15 s", database, dashboard.work_out)
    _show("values of all filters", database, show_filter_options)
    for name, filters in FILTERS.items():
        query = WorkspaceFilters(**filters)
        _show(f"list {name}", database, partial(listing.find, query=query, page=PAGE))
    _show_sync_pages(database)
    _show_export(database)
    database.close()


PAGE = PageQuery(limit=50)
FILTERS: dict[str, dict[str, Any]] = {
    "without filters": {},
    "by rare state": {"state": "ERROR"},
    "by state and mode": {"state": "AVAILABLE", "running_mode": "AUTO_STOP"},
    "by user": {"user_name": "needle1"},
    "by tag": {"tag": "team:blue"},
    "by text": {"search": "needle"},
    "unused for 30 days": {"unused_days": 30},
    "gone": {"gone": True},
}


def _show(name: str, database: Database, call: Callable[[Session], Any], *, write: bool = False) -> None:
    best = first = 0.0
    for number in range(1 if "first" in name else TRIES):
        with database.transaction(write=write) as session:
            of_server = _server_ms(database, session)
            before, began = of_server(), time.process_time()
            call(session)
            spent = (time.process_time() - began) * 1000 + of_server() - before
        best = spent if number == 0 else min(best, spent)
        first = first or spent
    mark = "" if best < WANTED_MS else f"  (over {WANTED_MS:.0f})"
    print(f"{name:<46}{best:>9.2f} ms{mark}", flush=True)


def _show_sync_pages(database: Database) -> None:
    source, place = Workspaces(), Place(ACCOUNT, "eu-central-1", "1", now(), now())
    make = LISTS["inventory"].rows["WORKSPACES"]
    names = set(WORKSPACES.c.keys()) - {"id", "account", "region", "gone", "presence", "search", "version"}
    names -= {"first_seen", "last_seen", "state_changed", "updated", "previous_state"}
    known = [{name: value for name, value in make(number).items() if name in names} for number in range(25)]
    pages = {
        "without changes": known,
        "of new rows": [{**row, "workspace_id": f"ws-new{n}"} for n, row in enumerate(known)],
    }
    for name, rows in pages.items():
        _show(
            f"page of 25 in a sync, {name}",
            database,
            partial(source.keep, place=place, rows=rows),
            write=True,
        )


def _show_export(database: Database) -> None:
    """Print the CPU time of an export of 100,000 rows, and by how much memory grew after its first tenth."""

    async def read() -> tuple[int, float]:
        size = early = 0.0
        chunks = 0
        query = ExportUsage()
        async for chunk in _csv(USAGE.columns, _pages(USAGE, query, database, WORKSPACES_MADE)):
            size, chunks = size + len(chunk), chunks + 1
            if chunks == 50:
                early = resident_mib(os.getpid())
        return int(size), resident_mib(os.getpid()) - early

    began = time.process_time()
    size, grown = asyncio.run(read())
    spent = time.process_time() - began
    print(
        f"export of 100,000 rows: {size / 1e6:.1f} MB, {spent:.1f} s of CPU, memory grew by {grown:.1f} MiB"
    )


def _fill(url: str) -> None:
    made = LISTS["inventory"].rows
    _put(url, WORKSPACES, made["WORKSPACES"], WORKSPACES_MADE)
    _put(url, TAGS, made["TAGS"], WORKSPACES_MADE)
    _put(url, USAGE_DAYS, _usage_day, WORKSPACES_MADE * DAYS)
    _put(url, USAGE_MONTHS, _usage_month, WORKSPACES_MADE * MONTHS)
    _put(url, COSTS, _cost, COST_ROWS)
    database = Database(url)
    with database.transaction() as session:
        scan = {"account": ACCOUNT, "region": "us-east-1", "source": "billing", "completed": now()}
        session.connection().execute(insert(SCANS).values(scan))
    with database.engine.connect() as connection:
        connection.exec_driver_sql("ANALYZE")
        connection.commit()
    database.close()


def _put(url: str, table: Table, make: Callable[[int], dict[str, Any]], number_of: int) -> None:
    rows = (list(make(number).values()) for number in range(number_of))
    put = lists._insert if url.startswith("sqlite") else lists._copy
    put(url, table, [*make(0)], rows)


def _usage_day(number: int) -> dict[str, Any]:
    day = TODAY - timedelta(days=number % DAYS)
    figures = dict.fromkeys(("connected_minutes", "sessions", "session_hours", "clock_hours"), number % 9)
    return {"workspace_id": f"ws-{number // DAYS:09}", "day": day.isoformat(), **figures, "complete": True}


def _usage_month(number: int) -> dict[str, Any]:
    month = month_of(TODAY.replace(day=1) - timedelta(days=number % MONTHS * 30))
    key = f"ws-{number // MONTHS:09}"
    return {
        "id": dated_id(midnight(first_day(month)), [key, str(number)]),
        "workspace_id": key,
        "account": ACCOUNT,
        "month": month,
        "source": "metrics",
        "hours": number % 200 * 1_000_000,
        "updated": now(),
    }


def _cost(number: int) -> dict[str, Any]:
    """Make a cost of this month, as only these are on the dashboard."""
    day = TODAY.replace(day=1 + number % TODAY.day)
    what = {"service": "Amazon WorkSpaces", "usage_type": "AutoStop-Usage", "region": "", "unit": "Hrs"}
    return {
        "id": dated_id(midnight(day), [str(number)]),
        "account": ACCOUNT,
        "day": day.isoformat(),
        "workspace_id": f"ws-{number % WORKSPACES_MADE:09}",
        **what,
        **dict.fromkeys(("amount_whole", "amount_part", "quantity_whole", "quantity_part"), 1),
        "currency": "USD",
        "estimated": True,
        "pulled": now(),
    }


if __name__ == "__main__":
    main()
