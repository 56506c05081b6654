"""Look-ups by key: where they run, what they see, and that a locked database does not hold up the loop."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import bindparam, select
from sqlalchemy.exc import OperationalError

from shared.data.database import Database
from shared.data.migrate import upgrade
from shared.data.reading import Reader
from shared.data.statements import Rows, insert_row
from tests.shared.notes.app import MIGRATIONS
from tests.shared.notes.handlers import NOTES

BY_TEXT = Rows(select(NOTES).where(NOTES.c.text == bindparam("text")))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    upgrade(database_url, MIGRATIONS)
    opened = Database(database_url)
    yield opened
    await asyncio.to_thread(opened.close)


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite:///{tmp_path}/notes.db"
    upgrade(url, MIGRATIONS)
    opened = Database(url)
    yield opened
    await asyncio.to_thread(opened.close)


def find(reader: Reader, text: str) -> tuple[dict[str, Any] | None, int]:
    return BY_TEXT.one(reader, text=text), threading.get_ident()


async def add(database: Database, text: str) -> dict[str, Any]:
    return await database.run(lambda session: insert_row(session, NOTES, owner="o", text=text))


async def test_look_up_sees_every_earlier_commit(database: Database) -> None:
    assert (await database.look_up(find, "a"))[0] is None
    for text in "ab":
        row = await add(database, text)
        assert (await database.look_up(find, text))[0] == row


async def test_look_up_runs_in_the_thread_of_the_loop_on_sqlite_only(database: Database) -> None:
    _, thread = await database.look_up(find, "a")

    assert (thread == threading.get_ident()) is database.is_sqlite


async def test_many_first_look_ups_at_once_share_one_connection(sqlite: Database) -> None:
    row = await add(sqlite, "a")
    async with asyncio.timeout(20):  # a second connection would be waited for in vain
        found = await asyncio.gather(*(sqlite.look_up(find, "a") for _ in range(20)))

    assert [one for one, _ in found] == [row] * 20


async def test_locked_database_is_waited_for_in_a_thread(sqlite: Database) -> None:
    row, loop_thread = await add(sqlite, "a"), threading.get_ident()

    def find_unless_locked(reader: Reader) -> dict[str, Any] | None:
        if threading.get_ident() == loop_thread:
            raise OperationalError("SELECT", None, sqlite3.OperationalError("database is locked"))
        return BY_TEXT.one(reader, text="a")

    assert await sqlite.look_up(find_unless_locked) == row


async def test_look_up_never_waits_for_a_lock_in_the_loop(sqlite: Database) -> None:
    def timeout_ms(reader: Reader) -> Any:
        return reader.connection().exec_driver_sql("PRAGMA busy_timeout").scalar()

    assert await sqlite.look_up(timeout_ms) == 0


async def test_statement_of_sqlalchemy_leaves_no_transaction_open(sqlite: Database) -> None:
    def newest(reader: Reader) -> list[str]:
        return [*reader.connection().execute(select(NOTES.c.text).order_by(NOTES.c.id)).scalars()]

    await add(sqlite, "a")
    assert await sqlite.look_up(newest) == ["a"]
    await add(sqlite, "b")

    assert await sqlite.look_up(newest) == ["a", "b"]


async def test_look_up_on_sqlite_cannot_write(sqlite: Database) -> None:
    loop_thread = threading.get_ident()

    def write(reader: Reader) -> None:
        if threading.get_ident() == loop_thread:
            reader.connection().exec_driver_sql("DELETE FROM notes")

    await add(sqlite, "a")
    await sqlite.look_up(write)

    assert (await sqlite.look_up(find, "a"))[0] is not None
