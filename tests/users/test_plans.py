"""What the duties of the users service, and its older list, read on large tables."""

from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import Session

from services.users.handlers.classic_users import classic_page
from services.users.models import SETTINGS
from services.users.settings import Settings
from services.users.stored_settings import store
from services.users.team import cards
from shared.data.database import Database
from shared.data.migrate import upgrade
from shared.lists import numbered
from shared.lists.numbered import ByNumber
from tests import lists
from tests.plans import STEPS, Watched, rows_read

ROWS = 20_000
BATCH = 20
STEPS_MAX = 20_000  # of SQLite's virtual machine; reading all rows takes at least four times as many
ROWS_READ_MAX = 1_500
AFTER = lists.row_id(ROWS // 2)

Read = Callable[[Session], Any]
READS: dict[str, Read] = {
    "outdated cards": partial(cards.outdated, after=AFTER),
    "settings of deleted people": partial(store.orphaned, after=AFTER),
    "the older list": partial(classic_page, query=ByNumber(page=2, limit=BATCH)),
}


def test_duties_and_the_older_list_read_no_more_than_their_batch(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cards, "BATCH_MEMBERS", BATCH)
    monkeypatch.setattr(store, "BATCH_OWNERS", BATCH)
    monkeypatch.setattr(numbered, "ROWS_MAX", 3 * BATCH)
    upgrade(database_url, Settings.migrations())
    lists.fill("users", database_url, ROWS)
    with closing(Database(database_url)) as database:
        with database.transaction() as session:  # nobody has more than 500 settings
            session.connection().execute(update(SETTINGS).values(owner=SETTINGS.c.id))
        cost, most = (_steps, STEPS_MAX) if database.is_sqlite else (_rows, ROWS_READ_MAX)
        found = {name: cost(database, read) for name, read in READS.items()}
    assert {name: number for name, number in found.items() if number > most} == {}


def _steps(database: Database, read: Read) -> int:
    watched = Watched(database.engine)
    with database.transaction(write=False) as session:
        driver: Any = session.connection().connection.driver_connection
        driver.set_progress_handler(watched.step, STEPS)
        read(session)
        driver.set_progress_handler(None, 0)
    assert watched.statements
    return watched.steps


def _rows(database: Database, read: Read) -> int:
    watched = Watched(database.engine)
    with database.transaction(write=False) as session:
        read(session)
        cursor: Any = session.connection().connection.cursor()
        asked, number = watched.statements, 0
        for statement, parameters in asked:
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
            number += rows_read(cursor.fetchone()[0][0]["Plan"])
    assert asked
    return number
