"""Metrics of a service's database: connections, size, log and version."""

from pathlib import Path

from prometheus_client import Gauge
from sqlalchemy import text

from shared.data.database import Database
from shared.data.migrate import current

IN_USE = Gauge("database_connections_in_use", "Connections in use by this process")
MAX = Gauge("database_connections_max", "Connections that this process may open")
WAITING = Gauge("database_calls_waiting", "Calls that wait for a connection")
SIZE = Gauge("database_size_bytes", "Size of the database")
LOG_SIZE = Gauge("database_wal_bytes", "Size of the write-ahead log of a SQLite database")
VERSION = Gauge("migration_version", "The number of the last migration of the database")


class Measures:
    """Notes the metrics of one database; the cheap ones at each scrape, the others when `look` is called."""

    def __init__(self, database: Database) -> None:
        self._database = database
        IN_USE.set_function(lambda: database.connections_in_use)
        MAX.set(database.connections_max)
        WAITING.set_function(lambda: database.calls_waiting)

    async def look(self) -> None:
        await self._database.in_background(self.look_now)

    def look_now(self) -> None:
        with self._database.engine.connect() as connection:
            version = current(connection)
            if not self._database.is_sqlite:
                SIZE.set(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())
                connection.rollback()
        VERSION.set(int(version or 0))
        if self._database.is_sqlite and (file := self._database.url.database):
            SIZE.set(_size(Path(file)))
            LOG_SIZE.set(_size(Path(f"{file}-wal")))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # without a file, as in tests, or without a log
        return 0
