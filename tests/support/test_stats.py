"""The numbers that staff watches cost the same whatever the number of tickets."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from services.support import staff
from services.support.models import TICKETS
from services.support.settings import Settings
from shared.clock import now
from shared.data.bulk import insert_rows
from shared.data.database import Database
from shared.data.migrate import upgrade
from shared.ids import new_id
from tests.plans import STEPS, Watched

ROWS = 3_000


def row(status: str, assigned_to: str | None, number: int) -> dict[str, Any]:
    empty = {name: None for name, column in TICKETS.c.items() if column.nullable}
    zero = dict.fromkeys(("reopened_count", "reply_count", "note_count"), 0)
    no = dict.fromkeys(("first_reply_told", "resolve_told", "is_overdue"), False)
    times = dict.fromkeys(("first_reply_due", "resolve_due", "created", "updated"), now())
    text = {"number": str(number), "subject": "S", "description": "D", "search": "", "priority": "low"}
    what = {"id": new_id(), "user_id": new_id(), "status": status, "assigned_to": assigned_to, "version": 1}
    return {**empty, **zero, **no, **times, **text, **what}


def test_counting_tickets_without_staff_reads_neither_all_unsolved_nor_all_unassigned_ones(
    make_settings: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staff, "SAMPLE", 10)
    monkeypatch.setattr(staff, "COUNTED_TO", 10)
    url = make_settings(Settings).database_url
    upgrade(url, Path("services/support/migrations"))  # without statistics, like every new database
    with closing(Database(url)) as database:
        with database.transaction() as session:
            insert_rows(session, TICKETS, [row("open", new_id(), number) for number in range(ROWS)])
            insert_rows(session, TICKETS, [row("closed", None, ROWS + number) for number in range(ROWS)])
            insert_rows(session, TICKETS, [row("waiting", None, 2 * ROWS)])
        watched = Watched(database.engine)
        with database.transaction(write=False) as session:
            driver: Any = session.connection().connection.driver_connection
            driver.set_progress_handler(watched.step, STEPS)
            seen = staff.stats(session)
            driver.set_progress_handler(None, 0)

    assert (seen.unassigned, seen.unsolved["open"]) == (1, {"low": 10})
    assert watched.steps < ROWS
