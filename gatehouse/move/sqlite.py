"""A SQLite file as the source or the target of a move."""

import json
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Table
from sqlalchemy.engine import make_url

from gatehouse.alone import FileLock
from gatehouse.move import NotMoved
from gatehouse.move.databases import CREATE_STATE, READ_STATE, STATE_TABLE, Copied, Row
from gatehouse.move.rows import Sum, quoted, rows_at_once, select_in_order
from shared.data import pausing
from shared.data.reach import VERSION_TABLE

_LOCK_SECONDS = 30.0
_TABLES = "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"


class Sqlite:
    """One file, opened for as long as the move takes."""

    kind = "sqlite"

    def __init__(self, url: str, *, is_target: bool = False) -> None:
        self.file = Path(str(make_url(url).database)).absolute()
        # A second move would let the service write again while the first one still copies.
        self._lock = FileLock(self.file.with_name(f"{self.file.name}.moving"))
        if is_target:
            self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(self.file, os.O_RDWR | os.O_CREAT, 0o600))
        elif not self.file.exists():
            raise NotMoved(f"{self.file}: there is no such database. Nothing was changed.")
        self._connect()

    def _connect(self) -> None:
        place = f"file:{self.file}?mode=rw"
        self.connection = sqlite3.connect(place, _LOCK_SECONDS, uri=True, isolation_level=None)
        self.connection.execute("PRAGMA synchronous = NORMAL")

    def version(self) -> str | None:
        if VERSION_TABLE not in self.tables():
            return None
        (found,) = self.connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608 - ours
        return str(found)

    def tables(self) -> dict[str, set[str]]:
        found = dict(self.connection.execute(_TABLES).fetchall())
        searched = [name for name, text in found.items() if text.startswith("CREATE VIRTUAL TABLE")]
        of_indexes = re.compile(rf"({'|'.join(map(re.escape, searched))})(_\w+)?") if searched else None
        return {
            name: {column for _, column, *_ in self.connection.execute(f"PRAGMA table_info({quoted(name)})")}
            for name in found
            if of_indexes is None or not of_indexes.fullmatch(name)  # with the tables behind an index
        }

    def count(self, table: Table) -> int:
        (number,) = self.connection.execute(f"SELECT count(*) FROM {quoted(table.name)}").fetchone()  # noqa: S608 - quoted
        return int(number)

    def months(self, table: str, column: str) -> list[str]:
        query = f"SELECT DISTINCT substr({quoted(column)}, 1, 7) FROM {quoted(table)} ORDER BY 1"  # noqa: S608 - quoted
        return [month for (month,) in self.connection.execute(query)]

    def read(self, table: Table, after: list[Any] | None) -> Iterator[list[Row]]:
        query = select_in_order(table, after=after is not None, is_sqlite=True)
        cursor = self.connection.execute(query, after or [])
        while rows := cursor.fetchmany(rows_at_once(table)):
            yield rows

    def close(self) -> None:
        self.connection.close()
        self._lock.release()

    # As a source.

    def lock(self) -> bool:
        return self._lock.acquire()

    def pause_writes(self) -> None:
        """Refuse new writes, wait for the present one, and keep all others out."""
        pausing.pause(self.file)
        try:
            self.connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise NotMoved(f"{self.file}: {error}") from None

    def resume_writes(self) -> None:
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")
        pausing.resume(self.file)

    def is_paused(self) -> bool:
        return pausing.is_paused(self.file)

    # As a target.

    def begin(self, owner: str) -> None:
        self._connect()  # the file may be a new one
        self.connection.execute("PRAGMA journal_mode = WAL")
        with self._transaction():
            self.connection.execute(CREATE_STATE)
            self._note("", owner)

    def state(self) -> Mapping[str, Copied] | None:
        if STATE_TABLE not in self.tables():
            return None
        rows = self.connection.execute(READ_STATE).fetchall()
        return {name: copied_from(place, number, hashes) for name, place, number, hashes in rows if name}

    def owner(self) -> str:
        query = f"SELECT place FROM {STATE_TABLE} WHERE name = ''"  # noqa: S608 - ours
        return str(self.connection.execute(query).fetchone()[0])

    def clear(self, tables: Sequence[Table]) -> None:
        guards = self.connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND sql LIKE '%RAISE(%'"
        ).fetchall()
        with self._transaction():
            for name, _ in guards:
                self.connection.execute(f"DROP TRIGGER {quoted(name)}")
            for table in reversed(tables):
                self.connection.execute(f"DELETE FROM {quoted(table.name)}")  # noqa: S608 - quoted
            for _, created in guards:
                self.connection.execute(created)
            for table in tables:
                self._note(table.name, "null")

    def write(self, table: Table, rows: list[Row], copied: Copied) -> None:
        columns = ", ".join(quoted(column.name) for column in table.columns)
        values = ", ".join("?" * len(table.columns))
        with self._transaction():
            self.connection.executemany(
                f"INSERT INTO {quoted(table.name)} ({columns}) VALUES ({values})",  # noqa: S608 - quoted
                rows,
            )
            self._note(table.name, json.dumps(copied.after), copied.sum)

    def finish(self, _tables: Sequence[Table]) -> None:
        broken = self.connection.execute("PRAGMA foreign_key_check").fetchone()
        if broken is not None:
            raise NotMoved(f"a row of {broken[0]} refers to one in {broken[2]} that does not exist")
        with self._transaction():
            self.connection.execute(f"DROP TABLE {STATE_TABLE}")
        pausing.resume(self.file)

    def wipe(self) -> None:
        self.connection.close()
        for end in ("-wal", "-shm", ""):
            Path(f"{self.file}{end}").unlink(missing_ok=True)
        os.close(os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        self._connect()

    def _note(self, name: str, place: str, total: Sum | None = None) -> None:
        total = total or Sum()
        query = f"INSERT OR REPLACE INTO {STATE_TABLE} VALUES (?, ?, ?, ?)"  # noqa: S608 - ours
        self.connection.execute(query, [name, place, total.rows, total.hexadecimal])

    def _transaction(self) -> "_Transaction":
        return _Transaction(self.connection)


class _Transaction:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._connection.execute("COMMIT")
        elif self._connection.in_transaction:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")


def copied_from(place: str, rows: int, hashes: str) -> Copied:
    return Copied(json.loads(place), Sum(rows, int(hashes, 16)))
