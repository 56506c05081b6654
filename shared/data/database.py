"""The database of a service: engine, transactions, and the threads that run them."""

import asyncio
import contextvars
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import structlog
from sqlalchemy import DateTime, Engine, Select, String, Table, create_engine, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Connection, Dialect, make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import QueuePool
from sqlalchemy.types import TypeDecorator, TypeEngine
from sqlmodel import Session

from shared.data import pausing, traced
from shared.data.postgresql import CACHED_STATEMENTS, create_postgresql
from shared.data.reading import LookUps, Reader, Readers
from shared.data.together import Together
from shared.errors import DiskFull, Overloaded, Unavailable
from shared.process.threads import Threads
from shared.tracing import spans

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

WAITING_MAX = 1_000
SQLITE_READERS = 4
POSTGRESQL_CONNECTIONS = 10
BUSY_TIMEOUT_MS = 10_000
BACKGROUND_THREADS = 4
BACKGROUND_NICE = 5
SWITCH_SECONDS = 0.0005
AWAY_SECONDS = 1.0
_NO_ANSWER = "The database did not respond; try again in a moment."


class TookTooLong(Unavailable):
    """The database cancelled a statement that took too long; try again in a moment."""


class Deadlocked(Unavailable):
    """The database ended this transaction because it and another waited for each other; try again."""


_ENDED: dict[str | None, type[Unavailable]] = {"57014": TookTooLong, "40P01": Deadlocked}  # by SQLSTATE


class Paused(Unavailable):
    """Changes are paused while the data of this service is moved; reads go on. Try again in a moment."""

    def __init__(self) -> None:
        super().__init__()
        self.headers = {"Retry-After": "5"}


class UtcDateTime(TypeDecorator[datetime]):
    """A timestamp in UTC. SQLite has no such type, so there it is RFC 3339 text, which sorts by time."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(String(32) if dialect.name == "sqlite" else self.impl_instance)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")  # the two databases would read it differently
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).isoformat(timespec="microseconds")

    def result_processor(self, dialect: Dialect, _type: object) -> Callable[[Any], datetime | None] | None:
        # A hot path: one call per value on SQLite, none on PostgreSQL, which returns UTC.
        return from_text if dialect.name == "sqlite" else None


class Database:
    """The database of one service, with as many threads as connections, so that neither waits for the other.

    SQLite works in the process itself, so more threads would only compete for the interpreter: a few threads
    read, so that a long read does not block the others, and one writes.
    """

    def __init__(self, url: str, pool_size: int | None = None) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        pool_size = pool_size or (SQLITE_READERS if self.is_sqlite else POSTGRESQL_CONNECTIONS)
        self._writing = self.engine = (
            create_sqlite(self.url, pool_size + BACKGROUND_THREADS)
            if self.is_sqlite
            else create_postgresql(self.url, pool_size)
        )
        self._readers = self._writers = Threads(pool_size, "database")
        # SQLite allows one writing transaction at a time; other writers sleep and poll. A lock is handed over
        # immediately, and only writers in other processes run into the busy timeout. All writers share one
        # connection, because a write through another one would invalidate its page cache. Requests queue for
        # the writing thread; the lock is for writes in other threads.
        self._write_lock = threading.Lock() if self.is_sqlite else nullcontext()
        if self.is_sqlite:
            self._writing = create_sqlite(self.url, 1, begin="BEGIN IMMEDIATE")
            self._writers = Threads(1, "database_writer")
        self._background = ThreadPoolExecutor(
            max_workers=BACKGROUND_THREADS, thread_name_prefix="background", initializer=_give_way
        )
        self._together = Together(self)
        self._plain = Readers(self.engine)
        self._look_ups = LookUps(create_sqlite(self.url, 1)) if self.is_sqlite else None
        self._traced = traced.Traced()
        file = self.url.database if self.is_sqlite else None
        self._file = Path(file).absolute() if file and file != ":memory:" else None
        self._waiting = 0
        self._away_until = 0.0
        # Values of `session.info`, for functions that get only the session.
        self.session_info: dict[str, Any] = {}
        self.on_commit: list[Callable[[Session], None]] = []

    async def run(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work(session, …)` in a thread, in one transaction that commits when it returns."""
        return await self.in_thread(self._in_transaction, True, work, args, kwargs, write=True)

    async def run_together(
        self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do the same as `run` for small work, in one transaction with the work of other requests.

        For hot paths. `Together` describes what such work must not do. A sampled request does not share.
        """
        if spans.sampled() is not None:  # its trace shows its own transaction
            return await self.run(work, *args, **kwargs)
        return await self._together.run(lambda session: work(session, *args, **kwargs))

    async def read(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do the same as `run` for work that only reads; on SQLite it does not wait for writers."""
        return await self.in_thread(self._in_transaction, False, work, args, kwargs)

    async def look_up(
        self, work: Callable[Concatenate[Reader, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do the same as `read` for work that reads at most a few rows, each by its key, with `Rows` only.

        On SQLite it runs right here, in the event loop's thread, unless the database is locked.
        """
        found = self._look_ups
        if found is not None and spans.sampled() is None:
            try:
                if not found.is_open:
                    await self.in_thread(found.open)
                return found.do(work, *args, **kwargs)
            except OperationalError:
                pass  # it waits for the lock in a thread, or reports what is wrong
        return await self.read(work, *args, **kwargs)

    async def in_thread(self, work: Callable[..., T], *args: Any, write: bool = False) -> T:
        """Call blocking work in one of the database's threads, with the caller's log context.

        Set `write` for a single writing transaction: on SQLite it then waits without blocking readers.
        """
        if self._waiting >= WAITING_MAX:
            raise Overloaded
        self._waiting += 1
        try:
            return await (self._writers if write else self._readers).call(work, *args)
        finally:
            self._waiting -= 1

    async def in_background(self, work: Callable[..., T], *args: Any) -> T:
        """Do the same as `in_thread` for background work, with a lower priority than requests."""
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._background, context.run, work, *args)

    @contextmanager
    def transaction(self, *, write: bool = True) -> Iterator[Session]:
        """Open a session whose changes are committed at the end of the block, all or none."""
        lock, engine = (self._write_lock, self._writing) if write else (nullcontext(), self.engine)
        file = self._file if write else None
        if file is not None and pausing.is_paused(file):
            raise Paused
        with (
            self._reporting(),
            self._traced.transaction(engine) as used,
            lock,
            Session(used, expire_on_commit=False, info=self.session_info.copy()) as session,
        ):
            yield session
            # Once more, with SQLite's write lock: all data may have moved while this waited for it.
            if file is not None and pausing.is_paused(file):
                raise Paused
            session.commit()
            for committed in self.on_commit:
                committed(session)

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """Open a connection for `Rows` that need neither a session nor one state for all statements."""
        if spans.sampled() is not None:
            with self.transaction(write=False) as session:
                yield session
        else:
            with self._reporting(), self._plain.reader() as reader:
                yield reader

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Turn errors of the database itself into problems, and log them."""
        if time.monotonic() < self._away_until:
            raise Unavailable(_NO_ANSWER)
        try:
            yield
        except DBAPIError as error:
            if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                log.error("disk_full", error=str(error.orig))  # noqa: TRY400 - no traceback needed
                raise DiskFull from error
            if getattr(error.orig, "sqlstate", None) == pausing.READ_ONLY:
                raise Paused from error
            if isinstance(error, OperationalError) or error.connection_invalidated:
                log.exception("database_failed")
                if (ended := _ENDED.get(getattr(error.orig, "sqlstate", None))) is not None:
                    raise ended from error
                self._note_absence(error)
                raise Unavailable(_NO_ANSWER) from error
            raise

    def _note_absence(self, error: DBAPIError) -> None:
        """After a connection timeout, refuse transactions for a while instead of letting each time out."""
        if self.is_sqlite:
            return
        from psycopg.errors import ConnectionTimeout  # not loaded on SQLite

        if isinstance(error.orig, ConnectionTimeout):
            self._away_until = time.monotonic() + AWAY_SECONDS

    def _in_transaction(
        self, write: bool, work: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> T:
        with self.transaction(write=write) as session:
            return work(session, *args, **kwargs)

    @property
    def writing_engine(self) -> Engine:
        """The engine whose transactions hold the lock for writing from their beginning, on SQLite."""
        return self._writing

    @property
    def connections_in_use(self) -> int:
        pools = [engine.pool for engine in self._engines]
        return sum(pool.checkedout() for pool in pools if isinstance(pool, QueuePool)) - self._plain.idle

    @property
    def connections_max(self) -> int:
        pools = [engine.pool for engine in self._engines]
        return sum(pool.size() for pool in pools if isinstance(pool, QueuePool))

    @property
    def calls_waiting(self) -> int:
        """The calls of requests for which no thread is free yet."""
        return sum(threads.waiting for threads in {self._readers, self._writers})

    @property
    def _engines(self) -> list[Engine]:
        return [self.engine] if self._writing is self.engine else [self.engine, self._writing]

    def ping(self) -> None:
        with self.engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        for threads in {self._readers, self._writers}:
            threads.close()
        self._background.shutdown(wait=True)
        self._plain.close()
        if self._look_ups is not None:
            self._look_ups.close()
        self._writing.dispose()
        self.engine.dispose()


def _give_way() -> None:
    """Lower the priority of background threads, and make them release the interpreter sooner."""
    sys.setswitchinterval(SWITCH_SECONDS)
    if sys.platform == "linux":  # elsewhere this would affect the whole process
        thread = threading.get_native_id()
        lower = os.getpriority(os.PRIO_PROCESS, thread) + BACKGROUND_NICE
        os.setpriority(os.PRIO_PROCESS, thread, min(lower, 19))


def one_row(session: Session, statement: Select[Any]) -> dict[str, Any] | None:
    """Return the only row of a statement, by column name; this costs half as much as loading an object."""
    row = session.connection().execute(statement).one_or_none()
    return None if row is None else row._asdict()


def execute_in_driver(connection: Connection, statement: str, parameters: Any) -> Any:
    """Execute directly in the driver, at a fifth of the cost; return its cursor. For hot paths."""
    driver: Any = connection.connection.driver_connection
    kind = connection.dialect.loaded_dbapi.Error
    span = None if spans.sampled() is None else traced.begun(statement, connection.dialect.name)
    try:
        return driver.execute(statement, parameters)
    except kind as error:
        if span is not None:
            span.fail(type(error).__name__)
        raise DBAPIError.instance(statement, None, error, kind, dialect=connection.dialect) from error
    finally:
        if span is not None:
            span.end()


def insert_into(session: Session, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Return an INSERT that supports ON CONFLICT, which SQLAlchemy has separately for each database."""
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    return sqlite.insert(table) if is_sqlite else postgresql.insert(table)


def rows_where(condition: str, *, sqlite: str | None = None) -> dict[str, Any]:
    """Return the options of a partial index, for either database.

    SQLite uses the index only for statements with the very same condition, and SQLAlchemy writes `flag` there
    as `flag = 1`.
    """
    return {"sqlite_where": text(sqlite or condition), "postgresql_where": text(condition)}


class UnreadableTime(ValueError):
    """SQLite stores anything in the column of a time, and this is not one."""


def from_text(value: str | None) -> datetime | None:
    try:
        return None if value is None else datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise UnreadableTime(f"not a time: {value!r}") from error


def create_sqlite(url: URL, pool_size: int, begin: str = "BEGIN") -> Engine:
    if url.database and url.database != ":memory:":
        with suppress(OSError):  # connecting reports this error better
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
            # SQLite would create it world-readable; -wal and -shm inherit its mode.
            Path(url.database).touch(mode=0o600)
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        query_cache_size=CACHED_STATEMENTS,
        hide_parameters=True,  # errors are logged, and a parameter may be a password hash
        connect_args={"check_same_thread": False, "isolation_level": None, "timeout": BUSY_TIMEOUT_MS / 1000},
    )

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: sqlite3.Connection, _record: object) -> None:
        _use_write_ahead_log(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        # Overwrite what is deleted. Debian's SQLite does so anyway; others leave it in the file.
        connection.execute("PRAGMA secure_delete = ON")

    @event.listens_for(engine, "begin")
    def begin_in_driver(connection: Connection) -> None:
        # The driver would begin a transaction only at the first write, and fail if another writer came first.
        execute_in_driver(connection, begin, ())

    return engine


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch to WAL; retry, because SQLite does not wait if several processes open a new file at once."""
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
