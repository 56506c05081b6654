"""Snapshots of all databases at one moment, so that no event is delivered between two of them.

Services change each other by events. If a snapshot of the receiver were older than the delivery of an event,
and that of the sender newer, the event would be in neither. Therefore all databases are locked together for
the few milliseconds in which their snapshots are opened; copying from the snapshots locks nothing.
"""

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Protocol

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from gatehouse.backup import NotDone

LOCK_SECONDS = 1.0
ATTEMPTS = 30
PAUSE_SECONDS = 0.2
_INBOX = "inbox"  # a delivery inserts into it, in one transaction with its effects


class Held(Protocol):
    """A database while it is locked, and then its snapshot."""

    def lock(self) -> None: ...
    def open_snapshot(self) -> None: ...
    def unlock(self) -> None: ...
    def close(self) -> None: ...


class NotNow(Exception):
    """A lock was not free in time."""


class SqliteSnapshot:
    """A read transaction on a SQLite file."""

    kind = "sqlite"

    def __init__(self, file: Path) -> None:
        if not file.exists():
            raise NotDone(f"{file}: there is no such database; has the suite ever been started here?")
        self.file = file
        self._writer = self._connect()
        self.connection = self._connect()
        self.connection.execute("PRAGMA query_only = on")

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.file}?mode=rw", LOCK_SECONDS, uri=True, isolation_level=None)

    def lock(self) -> None:
        try:
            self._writer.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise NotDone(f"{self.file}: {error}; no backup was made") from None
            raise NotNow(f"{self.file}: {error}") from error

    def open_snapshot(self) -> None:
        self.connection.execute("BEGIN")
        self.connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # opens it

    def unlock(self) -> None:
        if self._writer.in_transaction:
            self._writer.execute("ROLLBACK")

    def close(self) -> None:
        self._writer.close()
        self.connection.close()


class PostgresqlSnapshot:
    """An exported snapshot of a PostgreSQL database, in an open transaction."""

    kind = "postgresql"

    def __init__(self, url: str) -> None:
        self.url = url
        self.snapshot_id = ""
        try:
            self._locking = _connect(url)
            self.connection = _connect(url)
        except psycopg.OperationalError as error:
            raise NotDone(f"{_place(url)}: {str(error).strip()}; no backup was made") from None

    def lock(self) -> None:
        try:
            self._locking.execute(f"SET LOCAL lock_timeout = '{int(LOCK_SECONDS * 1000)}'")
            table = sql.SQL("LOCK TABLE {} IN SHARE MODE").format(sql.Identifier(_INBOX))
            self._locking.execute(table)
        except psycopg.errors.UndefinedTable:
            raise NotDone(f"{_place(self.url)}: the database is empty; no backup was made") from None
        except psycopg.errors.LockNotAvailable as error:
            raise NotNow(f"{_place(self.url)}: {error}") from error

    def open_snapshot(self) -> None:
        self.connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        row = self.connection.execute("SELECT pg_export_snapshot()").fetchone()
        assert row is not None
        self.snapshot_id = str(row[0])

    def unlock(self) -> None:
        self._locking.rollback()

    def close(self) -> None:
        self._locking.close()
        self.connection.close()


Snapshot = SqliteSnapshot | PostgresqlSnapshot


@contextmanager
def snapshots(databases: Mapping[str, str]) -> Iterator[dict[str, Snapshot]]:
    """Open a snapshot of each database by its URL, all of one moment."""
    with ExitStack() as stack:
        opened: dict[str, Snapshot] = {}
        for name, url in databases.items():
            opened[name] = stack.enter_context(closing(_opened(url)))
        _cut(list(opened.values()))
        yield opened


def _opened(url: str) -> Snapshot:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        assert parsed.database is not None
        return SqliteSnapshot(Path(parsed.database).absolute())
    return PostgresqlSnapshot(url)


def _cut(databases: list[Snapshot]) -> None:
    """Lock all, open all snapshots, unlock all; try again if that takes longer than LOCK_SECONDS."""
    reason = ""
    for _ in range(ATTEMPTS):
        try:
            _lock(databases)
            for one in databases:
                one.open_snapshot()
        except NotNow as error:
            reason = str(error)
        else:
            return
        finally:
            for one in databases:
                with suppress(psycopg.Error, sqlite3.Error):
                    one.unlock()
        time.sleep(PAUSE_SECONDS)
    raise NotDone(f"the databases were never free together ({reason}); no backup was made. Try again later.")


def _lock(databases: list[Snapshot]) -> None:
    """Lock all, or raise NotNow: other writers wait meanwhile."""
    deadline = time.monotonic() + LOCK_SECONDS
    for one in databases:
        one.lock()
        if time.monotonic() > deadline:
            raise NotNow("the locks took too long")


def _connect(url: str) -> psycopg.Connection[tuple[object, ...]]:
    parsed = make_url(url).set(drivername="postgresql")
    return psycopg.connect(parsed.render_as_string(hide_password=False), connect_timeout=10)


def _place(url: str) -> str:
    return make_url(url).render_as_string(hide_password=True)
