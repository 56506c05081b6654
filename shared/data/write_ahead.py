"""The write-ahead log of SQLite: it holds commits that a power failure may lose, and deleted data."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from shared.data.database import Database

WAIT_SECONDS = 0.5  # for readers and writers: they wait meanwhile, too


def flush(database: Database) -> None:
    """Make all commits survive a power failure, as those of PostgreSQL do."""
    file = _log_of(database)
    if file is None or not file.exists():
        return
    opened = os.open(file, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def clear(database: Database) -> bool:
    """Remove the earlier versions of pages, which hold deleted data; return whether that was possible now.

    It is not while something reads such a version, such as a backup.
    """
    file = _log_of(database)
    if file is None:
        return True
    with closing(sqlite3.connect(str(database.url.database), timeout=WAIT_SECONDS)) as connection:
        try:
            is_busy: int = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.OperationalError:
            return False
    return not is_busy


def _log_of(database: Database) -> Path | None:
    file = database.url.database if database.is_sqlite else None
    return None if file in (None, "", ":memory:") else Path(f"{file}-wal")
