"""Lists read along indexes, and a check by position: a damaged index must not stay unnoticed."""

from pathlib import Path

import pytest
from sqlalchemy import text

from services.audit.models import RECORDS
from shared.clock import now
from tests.audit.attacks import opened
from tests.audit.support import ALICE, BOB, Log, entry

BY_ACCOUNT = "ix_records_user_id_id"
MAY_DIFFER = "lists may hide records or show others: the index"


@pytest.fixture
def indexed(sqlite_log: Log) -> Log:
    """LOG_OPENED, and records 1 to 9, two of three of BOB; 3, 6 and 9 were refused."""
    opened(sqlite_log)
    for number in range(1, 10):
        outcome = "success" if number % 3 else "refused"
        sqlite_log.add(entry(BOB if number % 3 else ALICE, outcome=outcome))
    sqlite_log.sign()
    return sqlite_log


def put_in_its_place(log: Log, index: str, rows: str) -> None:
    """Let the index have the entries that it would have if these were the records."""
    path = str(log.database.url.database)
    log.database.engine.dispose()
    log.database._writing.dispose()
    with log.database.engine.connect() as connection:
        run = connection.exec_driver_sql
        made: str = run(f"SELECT sql FROM sqlite_master WHERE name = '{index}'").scalar_one()
        columns = ", ".join(column.name for column in RECORDS.c if column.name != "seq")
        run("CREATE TABLE shadow (seq INTEGER PRIMARY KEY, " + columns + ")")
        run(f"INSERT INTO shadow (seq, {columns}) {rows.format(columns=columns)}")
        run(made.replace(index, "ix_shadow").replace("ON records", "ON shadow"))
        root = run("SELECT rootpage FROM sqlite_master WHERE name = 'ix_shadow'").scalar_one()
        run("PRAGMA writable_schema = ON")
        run(f"UPDATE sqlite_master SET rootpage = {root} WHERE name = '{index}'")
        run("DELETE FROM sqlite_master WHERE name IN ('shadow', 'ix_shadow')")
        version = run("PRAGMA schema_version").scalar_one()
        run(f"PRAGMA schema_version = {version + 1}")
        connection.commit()
    log.database.engine.dispose()
    assert Path(path).exists()


def doubts(log: Log, first: int | None = None, limit: int = 1_000_000) -> list[tuple[int | None, str]]:
    found = log.verify(first, limit).verification
    assert found.faults == []
    return [(one.seq, one.detail) for one in found.unproven]


def shown(log: Log, user_id: str) -> int:
    return sum(b'"type":"record"' in line for line in log.lines(log.partial(user_id)))


def test_intact_indexes_have_no_faults(indexed: Log) -> None:
    assert doubts(indexed) == []


@pytest.mark.parametrize("index", sorted(str(one.name) for one in RECORDS.indexes))
def test_record_that_an_index_lacks_is_unproven(indexed: Log, index: str) -> None:
    put_in_its_place(indexed, index, "SELECT seq, {columns} FROM records WHERE seq <> 6")
    lacks = f"lists may hide it: the index {index} lacks it; repair it with REINDEX"

    assert (6, lacks) in doubts(indexed)
    indexed.tamper(f"REINDEX {index}")
    assert doubts(indexed) == []


def test_record_that_lists_hide_is_unproven(indexed: Log) -> None:
    before = shown(indexed, BOB)
    put_in_its_place(indexed, BY_ACCOUNT, "SELECT seq, {columns} FROM records WHERE seq <> 5")

    assert shown(indexed, BOB) == before - 1, "the attack has no effect"
    assert [seq for seq, _ in doubts(indexed)] == [5, None]
    assert [seq for seq, _ in doubts(indexed, first=5, limit=1)] == [5]


def test_superfluous_entry_is_unproven(indexed: Log) -> None:
    more = "SELECT seq, {columns} FROM records UNION ALL SELECT 99, {columns} FROM records WHERE seq = 5"
    put_in_its_place(indexed, BY_ACCOUNT, more)

    what = f"{MAY_DIFFER} {BY_ACCOUNT} has other entries than the records; repair it with REINDEX"
    assert doubts(indexed) == [(None, what)]


def test_index_on_other_columns_is_unproven_and_not_searched(indexed: Log) -> None:
    indexed.tamper(
        f"DROP INDEX {BY_ACCOUNT}", f"CREATE INDEX {BY_ACCOUNT} ON records (user_id COLLATE NOCASE, id)"
    )

    assert doubts(indexed) == [(None, f"{MAY_DIFFER} {BY_ACCOUNT} is not as the service created it")]


def test_further_index_is_unproven(indexed: Log) -> None:
    indexed.tamper("CREATE INDEX further ON records (user_id, id, action)")

    what = "records has an index further that the service did not create"
    assert doubts(indexed) == [(None, f"lists may hide records or show others: {what}")]


def test_lists_without_an_index_are_whole(indexed: Log) -> None:
    indexed.tamper(f"DROP INDEX {BY_ACCOUNT}")

    assert doubts(indexed) == []


def test_index_that_cannot_be_read_is_unproven(indexed: Log) -> None:
    with indexed.database.engine.connect() as connection:
        root = text("SELECT rootpage FROM sqlite_master WHERE name = 'ix_records_id'")
        page, size = (
            connection.execute(root).scalar_one(),
            connection.exec_driver_sql("PRAGMA page_size").scalar_one(),
        )
    indexed.tamper("PRAGMA user_version = 1")
    indexed.database.engine.dispose()
    indexed.database._writing.dispose()
    with Path(str(indexed.database.url.database)).open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)

    why = "(sqlite3.DatabaseError) database disk image is malformed"
    what = f"{MAY_DIFFER} ix_records_id cannot be read: {why}; repair it with REINDEX"
    assert doubts(indexed) == [(None, what)]


def test_record_that_is_stored_twice_is_unproven(log: Log) -> None:
    """Only lists show the second one, if the index of positions lacks it."""
    if log.database.is_sqlite:
        pytest.skip("SQLite stores a record at its position")
    opened(log).add(entry(BOB), entry(BOB))
    part = (
        "WHERE indexrelid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'records_pkey'::regclass"
        f" AND position('{now():_%Y_%m_}' IN inhrelid::regclass::text) > 0)"
    )
    columns = ", ".join(column.name for column in RECORDS.c if column.name != "action")
    log.tamper(
        f"UPDATE pg_index SET indisready = false, indisvalid = false {part}",
    )
    log.tamper(
        f"INSERT INTO records (action, {columns}) SELECT 'FORGED', {columns} FROM records WHERE seq = 1"
    )
    log.tamper(f"UPDATE pg_index SET indisready = true, indisvalid = true {part}")
    log.sign()

    what = "there are more records than positions; look for duplicates of `seq`"
    assert (None, f"lists may hide records or show others: {what}") in doubts(log)
