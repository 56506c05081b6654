"""`python -m tests.bench.lists [rows] [service…]`: CPU time of list pages at a million rows.

Rows and requests are those of tests/lists.py. A figure is the CPU time of one page in milliseconds, the
lowest of three. It includes this process and, on PostgreSQL, the server process.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sqlmodel import Session

from shared.data.database import Database
from shared.data.migrate import upgrade
from shared.http.schemas import Page
from tests import lists, support
from tests.lists import LISTS, Question

ROWS = 1_000_000
TRIES = 3
WANTED_MS = 10.0


def main() -> None:
    rows = int(sys.argv[1]) if sys.argv[1:] else ROWS
    services = sys.argv[2:] or list(LISTS)
    for service in services:
        with tempfile.TemporaryDirectory() as folder:
            _measure(service, f"sqlite:///{folder}/lists.db", "sqlite", rows)
        with support.postgresql() as server, support.new_database(server, "lists") as url:
            _measure(service, url, "postgresql", rows)


def _measure(service: str, url: str, kind: str, rows: int) -> None:
    upgrade(url, Path("services", service, "migrations"))
    began = time.monotonic()
    lists.fill(service, url, rows)
    print(f"\n{service} on {kind}: {rows} rows, filled in {time.monotonic() - began:.0f} s", flush=True)
    database, measured = Database(url, 2), []
    for operation in lists.lists_of(service):
        for question in lists.questions(service, operation):
            first, cursor = _page_ms(database, question)
            deep = None if cursor is None else _page_ms(database, question.on_page_after(_deep(rows)))[0]
            measured.append((max(first, deep or 0.0), first, deep, str(question)))
    database.close()
    measured.sort(reverse=True)
    slow = [one for one in measured if one[0] >= WANTED_MS]
    print(f"{len(measured)} questions, {len(slow)} above {WANTED_MS:.0f} ms; the slowest:")
    for _, first, deep, asked in measured[: max(10, len(slow))]:
        print(f"{first:8.2f} {'' if deep is None else f'{deep:.2f}':>8}  {asked}", flush=True)


def _deep(rows: int) -> str:
    return lists.cursor_at(lists.row_id(rows // 10))


def _server_ms(database: Database, session: Session) -> Callable[[], float]:
    """Return a function that reads the CPU time of this connection's server process from the kernel."""
    if database.is_sqlite:
        return lambda: 0.0
    process = session.connection().exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    counted = Path(f"/proc/{process}/schedstat")
    return lambda: int(counted.read_text().split()[0]) / 1e6


def _page_ms(database: Database, question: Question) -> tuple[float, str | None]:
    best, following = float("inf"), None
    for _ in range(TRIES):
        with database.transaction(write=False) as session:
            of_server = _server_ms(database, session)
            before, began = of_server(), time.process_time()
            page = question.ask(session)
            best = min(best, (time.process_time() - began) * 1000 + of_server() - before)
        following = page.next if isinstance(page, Page) else None
    return best, following


if __name__ == "__main__":
    main()
