"""A reader of the log gets all of the rest while records are cut off."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlmodel import Session

from services.audit import leftovers, retention
from services.audit.retention import cut
from shared.data.database import Database
from shared.errors import Unavailable
from tests.audit.attacks import JANUARY, MARCH, opened, verdict
from tests.audit.support import Log

WAIT_SECONDS = 60


@pytest.fixture
def half_cut(log: Log, monkeypatch: pytest.MonkeyPatch) -> Log:
    """Records of January that are cut off, but not deleted yet, and some of March."""
    for moment in (JANUARY, MARCH):
        monkeypatch.setattr("services.audit.log.now", lambda moment=moment: moment)
        log.prepare_month(moment)
        opened(log).fill(300)
        log.sign()
    with monkeypatch.context() as patched:
        patched.setattr(retention, "_delete_some", lambda _database: False)
        cut(log.checkpoints, MARCH, months=1)
    log.sign()
    return log


@contextmanager
def before_statement(database: Database, beginning: str, work: Any) -> Iterator[None]:
    def run(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith(beginning):
            work()

    event.listen(database.engine, "before_cursor_execute", run)
    try:
        yield
    finally:
        event.remove(database.engine, "before_cursor_execute", run)


def wait_for_a_waiting_lock(watching: Database) -> None:
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    pause = threading.Event()
    for _ in range(WAIT_SECONDS * 50):
        with watching.transaction(write=False) as session:
            if session.connection().execute(waiting).scalar_one():
                return
        pause.wait(0.02)
    raise AssertionError("nobody waits for a lock")


def test_export_is_whole_if_partitions_are_dropped_meanwhile(half_cut: Log) -> None:
    """Each held what the other waited for, and PostgreSQL cancelled one, such as the export."""
    if half_cut.database.is_sqlite:
        pytest.skip("SQLite has no partitions")
    dropping = threading.Event()
    watching = Database(half_cut.settings.database_url, pool_size=1)

    def drop_once_the_export_waits() -> None:
        if not dropping.is_set():
            dropping.set()
            wait_for_a_waiting_lock(watching)

    with (
        before_statement(half_cut.database, "DROP TABLE partitions.records", drop_once_the_export_waits),
        ThreadPoolExecutor(1) as pool,
    ):
        cutting = pool.submit(cut, half_cut.checkpoints, MARCH, 1)
        assert dropping.wait(WAIT_SECONDS)
        lines = [*half_cut.lines()]
        cutting.result(WAIT_SECONDS)
    watching.close()

    assert verdict(half_cut.check(lines)) == "ok"
    with half_cut.database.transaction(write=False) as session:
        assert "records_2026_01" not in retention._partitions(session)


def test_cut_gives_way_to_what_reads_for_long(half_cut: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup holds its locks for hours. All others would wait behind the cut."""
    if half_cut.database.is_sqlite:
        pytest.skip("SQLite has no partitions")
    monkeypatch.setattr(retention, "LOCK_SECONDS", 0.1)
    with half_cut.database.transaction(write=False) as reading:
        reading.connection().execute(text("LOCK TABLE records IN ACCESS SHARE MODE"))
        with pytest.raises(Unavailable):
            cut(half_cut.checkpoints, MARCH, months=1)
    cut(half_cut.checkpoints, MARCH, months=1)

    assert january(half_cut) == 0


def january(log: Log) -> int:
    def count(session: Session) -> int:
        of_january = text("SELECT count(*) FROM records WHERE received < '2026-02-01'")
        return int(session.connection().execute(of_january).scalar_one())

    with log.database.transaction(write=False) as session:
        return count(session)


class TestRecordsThatAreStillThere:
    """SQLite deletes some at a time, after the cut was recorded. PostgreSQL may wait for a reader."""

    def test_are_no_doubt_while_they_are_being_deleted(
        self, half_cut: Log, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The next batch is deleted once the check waits for it."""
        monkeypatch.setattr(retention, "CHUNK_RECORDS", 100)
        monkeypatch.setattr(leftovers, "PROGRESS_SECONDS", WAIT_SECONDS)
        deleted = []

        def delete_some(_seconds: float) -> None:
            deleted.append(retention._delete_some(half_cut.database))

        monkeypatch.setattr("services.audit.leftovers.time.sleep", delete_some)

        assert verdict(half_cut.verify().verification) == "ok"
        assert len(deleted) == 1
        assert january(half_cut) == (201 if half_cut.database.is_sqlite else 0)

    def test_are_unproven_if_they_stay(self, half_cut: Log) -> None:
        found = half_cut.verify().verification

        assert found.faults == []
        assert [(one.seq, one.detail) for one in found.unproven] == [
            (0, "records before 301 were cut off, but some are still there or were restored")
        ]

    def test_are_tampering_if_they_were_never_recorded(self, half_cut: Log) -> None:
        """Lists show them."""
        half_cut.tamper("UPDATE records SET action = 'FORGED' WHERE seq = 7")

        assert [one[:2] for one in half_cut.verify().verification.faults] == [("changed", 7)]
