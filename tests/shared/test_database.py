"""Transactions, timestamps, concurrent writers, and a database that goes down and comes back."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import IntegrityError, StatementError
from sqlmodel import Session
from structlog.testing import capture_logs

from shared.data import pausing
from shared.data.database import (
    SQLITE_READERS,
    WAITING_MAX,
    Database,
    Deadlocked,
    Paused,
    UtcDateTime,
    execute_in_driver,
)
from shared.data.migrate import upgrade
from shared.errors import Overloaded, Unavailable
from shared.ids import new_id
from shared.testing import bearer, running, token
from tests import support
from tests.shared.notes.app import MIGRATIONS, Settings, create_app
from tests.shared.notes.handlers import NOTES, SECRET
from tests.shared.notes.models import Note
from tests.shared.processes import ROOT


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    upgrade(database_url, MIGRATIONS)
    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path}/deeper/down/notes.db"
    upgrade(url, MIGRATIONS)
    opened = Database(url)
    yield opened
    opened.close()


def note(text: str, **values: Any) -> Note:
    return Note(owner=new_id(), text=text, **values)


def texts(session: Session) -> list[str]:
    return list(session.connection().execute(select(NOTES.c.text).order_by(NOTES.c.text)).scalars())


def test_database_file_is_readable_only_by_its_owner(sqlite: Database) -> None:
    with sqlite.transaction() as session:
        session.add(note("a password hash"))
        session.flush()
        folder = Path(str(sqlite.url.database)).parent
        modes = {file.name: oct(file.stat().st_mode & 0o777) for file in folder.glob("*.db*")}
    modes.pop("notes.db.lock")  # always empty
    assert modes == dict.fromkeys(["notes.db", "notes.db-wal", "notes.db-shm"], "0o600")


class TestTransaction:
    async def test_work_commits_when_it_returns(self, database: Database) -> None:
        def write(session: Session, text: str) -> str:
            session.add(note(text))
            return text.upper()

        assert await database.run(write, "a") == "A"
        assert await database.read(texts) == ["a"]

    async def test_work_that_fails_is_rolled_back(self, database: Database) -> None:
        def write_and_fail(session: Session) -> None:
            session.add(note("a"))
            session.flush()
            raise LookupError

        with pytest.raises(LookupError):
            await database.run(write_and_fail)
        assert await database.read(texts) == []

    def test_violated_constraint_is_raised_to_the_caller(self, database: Database) -> None:
        with pytest.raises(IntegrityError), database.transaction() as session:
            session.add_all([note("a"), note("a")])
        with database.transaction(write=False) as session:
            assert texts(session) == []

    def test_error_does_not_contain_the_parameters(self, database: Database) -> None:
        with pytest.raises(IntegrityError) as raised, database.transaction() as session:
            session.connection().execute(
                text("INSERT INTO notes (id, owner, text) VALUES ('1', :owner, '1')"), {"owner": SECRET}
            )
        assert "[SQL parameters hidden" in str(raised.value)

    def test_error_of_the_driver_is_raised_like_one_of_sqlalchemy(self, database: Database) -> None:
        mark = "?" if database.is_sqlite else "%s"
        statement = f"INSERT INTO notes (id, owner, text) VALUES ({mark}, {mark}, {mark})"
        with pytest.raises(IntegrityError), database.transaction() as session:
            execute_in_driver(session.connection(), statement, ("1", "2", "3"))
        with database.transaction(write=False) as session:
            assert texts(session) == []

    async def test_work_beyond_the_queue_is_refused_as_overloaded(self, sqlite: Database) -> None:
        started, release = threading.Event(), threading.Event()

        def hold(_session: Session) -> None:
            started.set()
            release.wait(30)

        waiting = [asyncio.ensure_future(sqlite.read(hold)) for _ in range(WAITING_MAX)]
        await asyncio.to_thread(started.wait, 30)
        with pytest.raises(Overloaded):
            await sqlite.read(hold)
        release.set()
        await asyncio.gather(*waiting)
        await sqlite.read(texts)


class TestTimes:
    def test_times_are_read_back_unchanged_and_sort(self, database: Database) -> None:
        first = datetime(2026, 3, 29, 1, 30, 0, 1, tzinfo=UTC)
        times = [
            first,
            first + timedelta(microseconds=1),
            (first + timedelta(seconds=1)).astimezone(timezone(timedelta(hours=-11))),
            (first + timedelta(seconds=2)).astimezone(timezone(timedelta(hours=14))),
            datetime(9999, 12, 31, tzinfo=UTC),
        ]
        with database.transaction() as session:
            session.add_all([note(str(number), created=time) for number, time in enumerate(times)])
        by_time = select(NOTES.c.created).order_by(NOTES.c.created)
        later = select(NOTES.c.text).where(NOTES.c.created > times[2]).order_by(NOTES.c.text)
        with database.transaction(write=False) as session:
            assert list(session.connection().execute(by_time).scalars()) == times
            assert list(session.connection().execute(later).scalars()) == ["3", "4"]
            read = session.connection().execute(by_time).scalars().first()

        assert read is not None
        assert read.utcoffset() == timedelta(0)

    def test_time_without_a_zone_is_refused(self, database: Database) -> None:
        naive = datetime(2026, 1, 1)  # noqa: DTZ001
        with pytest.raises(StatementError, match="has no time zone"), database.transaction() as session:
            session.add(note("a", created=naive))

    def test_none_stays_none(self, database: Database) -> None:
        nothing = select(NOTES.c.created).where(NOTES.c.created == None)  # noqa: E711
        with database.transaction(write=False) as session:
            column = NOTES.c.created.type
            assert isinstance(column, UtcDateTime)
            assert session.connection().execute(nothing).all() == []
            dialect = session.get_bind().dialect
            assert column.process_bind_param(None, dialect) is None
            process = column.result_processor(dialect, None)
            assert process is None or process(None) is None


WRITER = """
import sys
from sqlalchemy import func, select
from shared.data.database import Database
from tests.shared.notes.models import Note
database = Database(sys.argv[1])
for number in range(100):
    with database.transaction() as session:
        seen = session.connection().execute(select(func.count()).select_from(Note.__table__)).scalar_one()
        session.add(Note(owner="x", text=f"{sys.argv[2]} {number} saw {seen}"))
"""


class TestSideBySide:
    def test_threads_can_write_concurrently(self, database: Database) -> None:
        """The threads read first, then write; within one process they take turns."""

        def add_one(number: int) -> None:
            with database.transaction() as session:
                seen = len(texts(session))
                session.add(note(f"{number} saw {seen}"))

        with ThreadPoolExecutor(16) as threads:
            list(threads.map(add_one, range(200)))
        with database.transaction(write=False) as session:
            assert len(texts(session)) == 200

    def test_all_writes_of_a_process_share_a_connection(self, sqlite: Database) -> None:
        """A write through another connection would invalidate the page cache."""

        def write(number: int) -> int:
            with sqlite.transaction() as session:
                session.add(note(str(number)))
                session.flush()
                return id(session.connection().connection.driver_connection)

        with ThreadPoolExecutor(8) as threads:
            assert len(set(threads.map(write, range(50)))) == 1

    def test_processes_can_write_concurrently(self, sqlite: Database) -> None:
        """The processes read first: only a transaction declared as writing from the start can then wait."""
        url = sqlite.url.render_as_string(hide_password=False)
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, url, name], cwd=ROOT, stderr=subprocess.PIPE)
            for name in ("one", "two")
        ]
        for number in range(100):
            with sqlite.transaction() as session:
                session.add(note(f"three {number} saw {len(texts(session))}"))
        for writer in writers:
            _, faults = writer.communicate(timeout=60)
            assert writer.returncode == 0, faults.decode()
        with sqlite.transaction(write=False) as session:
            assert len(texts(session)) == 300

    def test_readers_do_not_wait_for_a_writer(self, database: Database) -> None:
        with database.transaction() as writing:
            writing.add(note("a"))
            writing.flush()
            with database.transaction(write=False) as reading:
                assert texts(reading) == []

    async def test_reads_do_not_wait_for_queued_writers(self, sqlite: Database) -> None:
        """More writers than threads are waiting for the active one, and a read still runs at once."""
        started, release = threading.Event(), threading.Event()

        def hold(_session: Session) -> None:
            started.set()
            release.wait(30)

        writing = [asyncio.ensure_future(sqlite.run(hold)) for _ in range(2 * SQLITE_READERS)]
        try:
            await asyncio.to_thread(started.wait, 30)
            async with asyncio.timeout(10):
                assert await sqlite.read(texts) == []
        finally:
            release.set()
            await asyncio.gather(*writing)

    async def test_long_read_does_not_block_other_reads(self, sqlite: Database) -> None:
        started, release = threading.Event(), threading.Event()

        def hold(_session: Session) -> None:
            started.set()
            release.wait(30)

        long = asyncio.ensure_future(sqlite.read(hold))
        try:
            await asyncio.to_thread(started.wait, 30)
            async with asyncio.timeout(10):
                assert await sqlite.read(texts) == []
        finally:
            release.set()
            await long

    def test_write_is_unavailable_while_another_process_holds_the_lock(
        self, sqlite: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("shared.data.database.BUSY_TIMEOUT_MS", 50)
        impatient, other = Database(str(sqlite.url)), Database(str(sqlite.url))
        with other.transaction() as holding:
            holding.execute(text("SELECT 1"))
            with capture_logs() as lines, pytest.raises(Unavailable), impatient.transaction() as session:
                session.add(note("a"))
        with impatient.transaction() as session:
            session.add(note("b"))

        assert [line["event"] for line in lines] == ["database_failed"]
        impatient.close()
        other.close()


class TestServerGone:
    async def test_service_recovers_when_the_server_is_back(self, make_settings: Callable[..., Any]) -> None:
        with support.postgresql_that_stops() as server:
            settings = make_settings(Settings, database_url=server.url)
            async with running(create_app, settings) as notes:
                headers = bearer(token())
                for number in range(5):
                    await notes.post("/notes", json={"text": f"{number}"}, headers=headers)
                server.stop(signal.SIGQUIT)
                with capture_logs() as lines:
                    refused = await notes.get("/notes", headers=headers)
                    written = await notes.post("/notes", json={"text": "lost"}, headers=headers)
                    ready = await notes.get("/health/ready")
                    alive = await notes.get("/health/live")
                server.start()
                listed = await notes.get("/notes", headers=headers)
                ready_again = await notes.get("/health/ready")

        assert refused.status_code == written.status_code == 503
        assert refused.json()["code"] == "unavailable"
        assert refused.headers["retry-after"] == "1"
        assert ready.status_code == 503
        assert ready.json()["checks"]["database"] == "down"
        assert alive.status_code == 200
        # At any time the relay may poll, metrics may be looked up, and the follower of revocations may call
        # auth, which does not run here.
        beside = {"events_paused", "peer_unreachable", "metrics_not_looked_up"}
        events = {line["event"] for line in lines} - beside
        assert events == {"database_failed", "not_ready", "request"}
        assert len(listed.json()) == 5
        assert ready_again.status_code == 200

    async def test_connection_cut_during_a_transaction_is_unavailable(self, postgresql_server: str) -> None:
        with support.new_database(postgresql_server, f"test_{new_id()}") as url:
            upgrade(url, MIGRATIONS)
            database = Database(url)

            def write_and_be_cut_off(session: Session) -> None:
                session.connection().execute(insert(NOTES), note("a").model_dump())
                session.connection().execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

            with pytest.raises(Unavailable):
                await database.run(write_and_be_cut_off)
            with database.transaction() as session:
                assert texts(session) == []
            database.close()

    def test_deadlock_is_unavailable_for_one_of_two_transactions(self, postgresql_server: str) -> None:
        with support.new_database(postgresql_server, f"test_{new_id()}") as url:
            upgrade(url, MIGRATIONS)
            database = Database(url)
            with database.transaction() as session:
                session.add_all([note("a"), note("b")])
            met = threading.Barrier(2)

            def touch(texts: tuple[str, str]) -> str:
                try:
                    with database.transaction() as session:
                        for number, name in enumerate(texts):
                            lock = select(NOTES).where(NOTES.c.text == name).with_for_update()
                            session.connection().execute(lock)
                            if number == 0:
                                met.wait(10)
                except Deadlocked as error:
                    return error.code
                return "done"

            with ThreadPoolExecutor(2) as threads:
                outcomes = list(threads.map(touch, [("a", "b"), ("b", "a")]))
            assert sorted(outcomes) == ["done", "unavailable"]
            database.close()


@pytest.mark.parametrize("write", [False, True])
def test_sqlite_pragmas_are_set_as_documented(tmp_path: Path, write: bool) -> None:
    """The pragmas are read on the connections that transactions use."""
    database = Database(f"sqlite:///{tmp_path}/new.db")
    with database.transaction(write=write) as session:
        asked = {
            name: session.connection().exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    database.close()

    assert asked == {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1}  # 1: NORMAL


def test_write_that_waited_while_the_data_moved_is_refused(sqlite: Database) -> None:
    file = Path(str(sqlite.url.database))
    mover, passed, go_on = sqlite3.connect(file, isolation_level=None), threading.Event(), threading.Event()

    def write() -> None:
        with sqlite.transaction() as session:
            passed.set()  # writes were not paused when it began
            assert go_on.wait(30)
            session.add(note("late"))

    with ThreadPoolExecutor() as threads:
        writing = threads.submit(write)
        assert passed.wait(30)
        pausing.pause(file)
        mover.execute("BEGIN IMMEDIATE")
        go_on.set()
        mover.rollback()  # it has copied everything
        with pytest.raises(Paused):
            writing.result()
    with sqlite.transaction(write=False) as session:
        assert texts(session) == []
    mover.close()
