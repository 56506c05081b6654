"""Work of several requests in one transaction: results, failures, and that nobody waits for stragglers."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from shared.data import together
from shared.data.database import Database
from shared.data.migrate import upgrade
from shared.data.statements import insert_row
from shared.errors import Overloaded, Unavailable
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
