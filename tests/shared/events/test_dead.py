"""Dead letters: listed, replayed and deleted a few at a time, whether ten are dead or a million."""

import asyncio
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, text
from sqlmodel import Session

from services.orders.models import EVENTS
from services.orders.settings import Settings
from shared.clock import now
from shared.data.bulk import insert_rows
from shared.data.database import Database
from shared.data.migrate import upgrade
from shared.events import dead, parked, spine, undelivered
from shared.events.dead import DeadLetters
from shared.events.inbox import Inbox
from shared.events.parked import NEVER, Parked
from shared.events.spine import Spine
from shared.events.undelivered import Undelivered, Waiting
from shared.process.tasks import end
from tests.plans import STEPS, Watched, rows_read
from tests.shared.events.conftest import TABLES
from tests.shared.events.things import envelope

ROWS = 10_000  # the older half is dead
FEW = 20
STEPS_MAX = ROWS  # of SQLite's virtual machine; to read half of the rows takes at least 1.5 * ROWS
ROWS_READ_MAX = 10 * FEW
SECONDS = 30
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
Work = Callable[[Session], Any]


def row(number: int, *, is_dead: bool) -> dict[str, Any]:
    event = envelope(number, f"{number}")
    return {
        "id": event.id,
        "topic": event.topic,
        "key": event.key,
        "body": event.model_dump_json(),
        "received": BEGIN + timedelta(seconds=number),
        "due": NEVER if is_dead else BEGIN,
        "attempts": 1,
        "dead": is_dead,
        "blocks": False,
        "reason": "broken",
    }


def fill(database: Database, number: int, *, dead: int) -> None:
    with database.transaction() as session:
        insert_rows(session, TABLES.parked, [row(each, is_dead=each < dead) for each in range(number)])


def numbers(database: Database) -> list[int]:
    """Return the numbers of the rows that are left."""
    with database.transaction(write=False) as session:
        kept = session.connection().execute(select(TABLES.parked.c.key).order_by(TABLES.parked.c.seq))
        return [int(key.removeprefix("thing ")) for key in kept.scalars()]


@pytest.fixture
def a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead, "LISTED_MAX", FEW)
    monkeypatch.setattr(parked, "COUNTED_MAX", FEW)
    monkeypatch.setattr(parked, "FORGOTTEN_MAX", FEW)
    monkeypatch.setattr(spine, "FORGOTTEN_MAX", FEW)


def works(database: Database) -> dict[str, tuple[Work, Any]]:
    """Return every operation on dead letters, with its expected result."""
    letters, line = DeadLetters(TABLES), Parked(TABLES.parked, {"thing.counted": False})
    looked = Undelivered(TABLES, ["one"])
    with database.transaction(write=False) as session:
        first = letters.oldest(session)
        second = letters.oldest(session, after=first[-1])
        ids = [letter.id for letter in second]
        pages = {is_dead: looked.newest(session, FEW, dead=is_dead) for is_dead in (True, False)}
        places = {is_dead: (page[-1].received, page[-1].seq) for is_dead, page in pages.items()}
    assert len(first) == len(second) == FEW
    return {
        "list": (letters.oldest, first),
        "list the next ones": (lambda session: letters.oldest(session, after=first[-1]), second),
        "find some": (lambda session: letters.those(session, ids), second),
        "replay": (lambda session: letters.replay(session, second), second),
        "drop": (lambda session: letters.drop(session, second), second),
        "list the newest dead ones": (
            lambda session: [row.seq for row in looked.newest(session, FEW, dead=True)],
            [*range(ROWS // 2, ROWS // 2 - FEW, -1)],
        ),
        "list dead ones before them": (
            lambda session: [row.seq for row in looked.newest(session, FEW, dead=True, before=places[True])],
            [*range(ROWS // 2 - FEW, ROWS // 2 - 2 * FEW, -1)],
        ),
        "list those to be retried": (
            lambda session: [
                row.seq for row in looked.newest(session, FEW, dead=False, before=places[False])
            ],
            [*range(ROWS - FEW, ROWS - 2 * FEW, -1)],
        ),
        "find one": (lambda session: getattr(looked.find(session, ids[0]), "id", None), ids[0]),
        "count": (line.census, (FEW, FEW)),
        "delete old ones": (lambda session: line.forget_dead(session, now()), False),
        "find no old ones": (lambda session: line.forget_dead(session, BEGIN), True),
    }


def cost(database: Database, watched: Watched, work: Work, result: Any) -> int:
    """Return the steps of SQLite, or the rows that PostgreSQL reads; whatever changes is rolled back."""
    with database.transaction() as session:
        connection = session.connection()
        driver: Any = connection.connection.driver_connection
        change = connection.begin_nested()
        if database.is_sqlite:
            driver.set_progress_handler(watched.step, STEPS)
        watched.forget()
        assert work(session) == result
        if database.is_sqlite:
            driver.set_progress_handler(None, 0)
        seen = [*watched.statements]
        change.rollback()
        read = 0
        if not database.is_sqlite:
            cursor = driver.cursor()
            for statement, parameters in seen:  # in the same order, so that each reads the same rows again
                cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
                read += rows_read(cursor.fetchone()[0][0]["Plan"])
        session.rollback()
    return watched.steps if database.is_sqlite else read


def test_each_operation_reads_only_the_dead_letters_that_it_returns(
    database: Database, a_few_at_a_time: None
) -> None:
    fill(database, ROWS, dead=ROWS // 2)
    most = STEPS_MAX if database.is_sqlite else ROWS_READ_MAX
    for statistics in ("without statistics", "with statistics"):
        watched = Watched(database._writing)
        costs = {name: cost(database, watched, *one) for name, one in works(database).items()}
        assert {name: seen for name, seen in costs.items() if seen >= most} == {}, statistics
        assert costs["list"] > 0

        with database.transaction() as session:
            session.connection().execute(text("ANALYZE"))
        for engine in {database.engine, database._writing}:
            engine.dispose()  # connections of SQLite read the statistics when they open


def test_waiting_events_are_counted_and_listed_up_to_a_limit_without_reading_the_others(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(undelivered, "COUNTED_MAX", FEW)
    body = {"key": "thing 1", "body": "{}", "created": BEGIN, "attempts": 3, "last_error": "refused"}
    rows = [{"subscriber": "one" if each % 2 else "other", **body} for each in range(ROWS)]
    with database.transaction() as session:
        insert_rows(session, TABLES.outbox, rows)
    looked, watched = Undelivered(TABLES, ["nobody", "one"]), Watched(database._writing)
    expected = [Waiting("nobody", 0, None, 0, None), Waiting("one", FEW, BEGIN, 3, "refused")]
    seen = cost(database, watched, looked.waiting, expected)
    listed = cost(
        database, watched, lambda session: len(looked.unsent(session, "one", FEW, after=ROWS // 2)), FEW
    )

    assert 0 < seen < (STEPS_MAX if database.is_sqlite else ROWS_READ_MAX)
    assert 0 < listed < (STEPS_MAX if database.is_sqlite else ROWS_READ_MAX)


def test_dead_letters_are_listed_in_batches_in_order_of_arrival(
    database: Database, a_few_at_a_time: None
) -> None:
    fill(database, 3 * FEW, dead=2 * FEW + 1)
    letters, batches = DeadLetters(TABLES), []
    with database.transaction(write=False) as session:
        batch = letters.oldest(session)
        while batch:
            batches.append([letter.event.data["number"] for letter in batch])
            batch = letters.oldest(session, after=batch[-1])

    assert batches == [[*range(FEW)], [*range(FEW, 2 * FEW)], [2 * FEW]]


@pytest.mark.parametrize(("dead", "number"), [(0, 0), (0, FEW - 1), (FEW, FEW + 2), (3 * FEW, 5 * FEW)])
def test_both_kinds_of_parked_events_are_counted_up_to_a_limit(
    database: Database, a_few_at_a_time: None, dead: int, number: int
) -> None:
    fill(database, number, dead=dead)
    with database.transaction(write=False) as session:
        counted = Parked(TABLES.parked, {}).census(session)

    assert counted == (min(number - dead, FEW), min(dead, FEW))


class Tidied(Spine):
    def __init__(self, database: Database) -> None:
        self._tables, self._database = TABLES, database
        self.inbox = Inbox(TABLES, database, {})


@pytest.fixture
def with_old_rows(database: Database) -> None:
    """Add three batches of old dead letters and of old ids of received events, and rows that must be kept."""
    fill(database, 3 * FEW + 1, dead=3 * FEW)
    fresh = row(100, is_dead=True) | {"received": now()}
    seen = [{"id": f"old {number}", "received": BEGIN} for number in range(3 * FEW)]
    with database.transaction() as session:
        session.connection().execute(insert(TABLES.parked), fresh)
        session.connection().execute(insert(TABLES.inbox), [*seen, {"id": "fresh", "received": now()}])


def seen_ids(database: Database) -> list[str]:
    with database.transaction(write=False) as session:
        return [*session.connection().execute(select(TABLES.inbox.c.id)).scalars()]


@pytest.mark.usefixtures("with_old_rows", "a_few_at_a_time")
def test_old_rows_are_deleted_the_oldest_first_in_small_transactions(database: Database) -> None:
    tidied, left = Tidied(database), []
    for _ in range(4):
        with database.transaction() as session:
            is_done = tidied._tidy(session)
        left.append((is_done, len(seen_ids(database)), numbers(database)[0]))

    assert left == [(False, 41, 20), (False, 21, 40), (False, 1, 60), (True, 1, 60)]
    assert numbers(database) == [60, 100]
    assert seen_ids(database) == ["fresh"]


@pytest.mark.usefixtures("with_old_rows", "a_few_at_a_time")
async def test_service_deletes_old_rows_until_none_remain(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spine, "TIDY_SECONDS", 0)
    none_remain, loop, steps = asyncio.Event(), asyncio.get_running_loop(), []

    class Seen(Tidied):
        def _tidy(self, session: Session) -> bool:
            steps.append(super()._tidy(session))
            if steps[-1]:
                loop.call_soon_threadsafe(none_remain.set)
            return steps[-1]

    tidying = asyncio.create_task(Seen(database)._keep_tidy())
    async with asyncio.timeout(SECONDS):
        await none_remain.wait()
    await end([tidying])

    assert steps[:4] == [False, False, False, True]
    assert numbers(database) == [60, 100]
    assert seen_ids(database) == ["fresh"]


def test_dead_letters_of_an_older_version_are_found_after_the_upgrade(
    database_url: str, tmp_path: Path
) -> None:
    older = tmp_path / "orders" / "migrations"
    older.mkdir(parents=True)
    files = sorted(Settings.migrations().glob("*.py"))
    for file in itertools.takewhile(lambda file: "index_parked_events" not in file.name, files):
        (older / file.name).write_text(file.read_text())
    upgrade(database_url, older)
    database = Database(database_url)
    with database.transaction() as session:
        insert_rows(session, EVENTS.parked, [row(number, is_dead=number < 2) for number in range(3)])
    database.engine.dispose()
    upgrade(database_url, Settings.migrations())
    with database.transaction(write=False) as session:
        found = DeadLetters(EVENTS).oldest(session)
        counted = Parked(EVENTS.parked, {}).census(session)
    database.close()

    assert [letter.event.data["number"] for letter in found] == [0, 1]
    assert counted == (1, 2)


def test_replay_and_drop_return_what_was_dead_until_then(database: Database) -> None:
    """Another operator may have replayed or dropped an event since it was read."""
    fill(database, 3, dead=3)
    letters = DeadLetters(TABLES)
    with database.transaction() as session:
        found = letters.oldest(session)
    with database.transaction() as session:
        letters.replay(session, found[:1])
    with database.transaction() as session:
        assert letters.drop(session, found[:2]) == found[1:2]
    with database.transaction() as session:
        assert letters.replay(session, found) == found[2:]
