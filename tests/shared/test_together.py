"""Work of several requests in one transaction: results, failures, and that nobody waits for stragglers."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from shared.data import together
from shared.data.database import Database, execute_in_driver
from shared.data.migrate import upgrade
from shared.data.statements import insert_row
from shared.data.together import common_of, read_once
from shared.errors import Overloaded, Unavailable
from shared.ids import new_id
from tests.shared.notes.app import MIGRATIONS
from tests.shared.notes.handlers import NOTES

WHO: ContextVar[str] = ContextVar("who", default="nobody")


class Commits:
    """Counts commits; the first transaction waits until it is let go."""

    def __init__(self, database: Database) -> None:
        self.number = 0
        self.may_go = threading.Event()
        database.on_commit.append(self._note)

    def _note(self, _session: Session) -> None:
        self.number += 1

    def hold(self, session: Session) -> None:
        assert self.may_go.wait(30)
        add(session, "first")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    upgrade(database_url, MIGRATIONS)
    opened = Database(database_url)
    yield opened
    opened.close()


def add(session: Session, /, text: str, **values: Any) -> str:
    insert_row(session, NOTES, owner=WHO.get(), text=text, **values)
    return text.upper()


def texts(session: Session) -> list[tuple[str, str]]:
    rows = session.connection().execute(select(NOTES.c.owner, NOTES.c.text).order_by(NOTES.c.text))
    return [(owner, text) for owner, text in rows]


async def queued_behind_first(database: Database, commits: Commits, *work: Any) -> list[Any]:
    """Let all of this work arrive while the first transaction runs; return what came of it."""
    first = asyncio.create_task(database.run_together(commits.hold))
    await asyncio.sleep(0)  # the first has started its transaction, or is about to
    await asyncio.sleep(0)
    others = [asyncio.create_task(database.run_together(each)) for each in work]
    await asyncio.sleep(0)
    commits.may_go.set()
    found = await asyncio.gather(first, *others, return_exceptions=True)
    return list(found[1:])


def adding(text: str, **values: Any) -> Any:
    return lambda session: add(session, text, **values)


async def test_work_that_arrives_during_a_transaction_shares_the_next_one(database: Database) -> None:
    commits = Commits(database)
    results = await queued_behind_first(database, commits, *(adding(each) for each in "abcde"))

    assert results == [*"ABCDE"]
    assert commits.number == 2
    assert [text for _, text in await database.read(texts)] == [*"abcde", "first"]


async def test_each_piece_runs_in_the_context_of_its_caller(database: Database) -> None:
    async def called_by(who: str) -> None:
        WHO.set(who)
        await database.run_together(add, f"of {who}")

    await asyncio.gather(called_by("ann"), called_by("bob"))

    assert await database.read(texts) == [("ann", "of ann"), ("bob", "of bob")]


async def test_failed_piece_fails_alone(database: Database) -> None:
    commits = Commits(database)
    same = "0199a7d2-0000-7000-8000-000000000000"
    results = await queued_behind_first(
        database,
        commits,
        adding("a", id=same),
        adding("again", id=same),
        lambda _session: 1 // 0,
        adding("b"),
    )

    assert results[0] == "A"
    assert isinstance(results[1], IntegrityError)
    assert isinstance(results[2], ZeroDivisionError)
    assert results[3] == "B"
    assert [text for _, text in await database.read(texts)] == ["a", "b", "first"]


async def test_pieces_of_one_transaction_read_a_value_once(database: Database) -> None:
    read: list[str] = []

    def reading(key: str) -> Any:
        return lambda session: read_once(session, key, lambda: _noted(read, key))

    commits = Commits(database)
    results = await queued_behind_first(database, commits, *map(reading, "aaba"))
    later = [await database.run_together(reading("a")), await database.run(reading("a"))]

    assert results == [1, 1, 2, 1]
    assert later == [3, 4]


def _noted(read: list[str], key: str) -> int:
    read.append(key)
    return len(read)


def inserting(text: str, owner: str | None = "nobody") -> Any:
    """Insert a row together with those of other pieces; `owner` cannot be NULL."""

    def insert(session: Session) -> str:
        mark = "?" if session.get_bind().dialect.name == "sqlite" else "%s"
        values = f"{mark}, {mark}, {mark}, 1, '2026-11-28T22:00:00.000000+00:00'"
        statement = f"INSERT INTO notes (id, owner, text, version, created) VALUES ({values})"
        row, common = (new_id(), owner, text), common_of(session)
        if common is None:  # once more, alone
            execute_in_driver(session.connection(), statement, row)
        else:
            common.insert(statement, row)
        return text.upper()

    return insert


async def test_rows_of_all_pieces_are_inserted_by_one_statement(database: Database) -> None:
    commits, together_at_once = Commits(database), list[bool]()

    def note(
        _connection: Any, _cursor: Any, _statement: str, _values: Any, _context: Any, many: bool
    ) -> None:
        together_at_once.append(many)

    event.listen(database._writing, "before_cursor_execute", note)
    results = await queued_behind_first(database, commits, *map(inserting, "cab"))

    assert results == [*"CAB"]
    assert together_at_once == [True]
    assert [text for _, text in await database.read(texts)] == [*"abc", "first"]


async def test_row_that_cannot_be_inserted_fails_its_own_piece(database: Database) -> None:
    commits = Commits(database)
    results = await queued_behind_first(database, commits, inserting("a"), inserting("b", None), adding("c"))

    assert results[0] == "A"
    assert isinstance(results[1], IntegrityError)
    assert results[2] == "C"
    assert [text for _, text in await database.read(texts)] == [*"ac", "first"]


async def test_every_caller_learns_that_the_commit_failed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits, real = Commits(database), database.transaction
    begun: list[int] = []

    @contextmanager
    def failing(*, write: bool = True) -> Iterator[Session]:
        begun.append(1)
        with real(write=write) as session:
            yield session
            if len(begun) == 2:
                raise Unavailable

    monkeypatch.setattr(database, "transaction", failing)
    results = await queued_behind_first(database, commits, adding("a"), adding("b"))

    assert [type(each) for each in results] == [Unavailable, Unavailable]
    assert len(begun) == 2  # a commit that may have succeeded is not repeated
    assert [text for _, text in await database.read(texts)] == ["first"]


async def test_caller_that_gives_up_takes_nobody_along(database: Database) -> None:
    commits = Commits(database)
    first = asyncio.create_task(database.run_together(commits.hold))
    await asyncio.sleep(0)
    leaving, staying = (asyncio.create_task(database.run_together(add, each)) for each in "ab")
    await asyncio.sleep(0)
    leaving.cancel()
    commits.may_go.set()

    assert await staying == "B"
    await first
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_more_than_a_full_queue_is_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "WAITING_MAX", 3)
    commits = Commits(database)
    results = await queued_behind_first(database, commits, *(adding(each) for each in "abcd"))

    assert results[:3] == ["A", "B", "C"]
    assert isinstance(results[3], Overloaded)
