"""Reading without a session: statements of `shared.data.statements` outside of transactions.

Each statement sees what was committed before it. On a small page, a session and its transaction cost as much
as reading and converting the rows; on PostgreSQL they are two more round trips. For a look-up by key on
SQLite, which takes a few microseconds, handing it over to another thread costs several times as much, so it
runs in the event loop's own thread.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import Engine
from sqlalchemy.engine import Connection

P = ParamSpec("P")
T = TypeVar("T")


class Reader(Protocol):
    """What statements of `shared.data.statements` read with: a Session, or a connection outside of one.

    A handler that takes a Reader only runs such statements, and does not need one state for all of them.
    """

    def connection(self) -> Connection: ...


class _Plain:
    """One connection, outside of transactions."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def connection(self) -> Connection:
        return self._connection


class Readers:
    """The connections for reading outside of transactions; on SQLite they stay open, and out of the pool."""

    def __init__(self, engine: Engine) -> None:
        self._keeps = engine.dialect.name == "sqlite"
        self._engine = engine if self._keeps else engine.execution_options(isolation_level="AUTOCOMMIT")
        self._kept: list[Connection] = []

    @property
    def idle(self) -> int:
        """The connections that are kept but not in use."""
        return len(self._kept)

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        connection = self._taken()
        try:
            yield _Plain(connection)
            _end(connection)
        except BaseException:
            connection.close()
            raise
        if self._keeps:
            self._kept.append(connection)
        else:
            connection.close()

    def _taken(self) -> Connection:
        try:
            return self._kept.pop()
        except IndexError:
            return self._engine.connect()

    def close(self) -> None:
        while self._kept:
            self._kept.pop().close()


def _end(connection: Connection) -> None:
    """End a transaction that SQLAlchemy began: later statements would not see later commits."""
    if connection.in_transaction():
        connection.rollback()


class LookUps:
    """The connection for look-ups in the event loop. A locked database is an OperationalError at once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._opening = threading.Lock()

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    def open(self) -> None:
        with self._opening:
            if self._connection is None:
                connection = self._engine.connect()
                driver: Any = connection.connection.driver_connection
                driver.execute("PRAGMA busy_timeout = 0")
                driver.execute("PRAGMA query_only = ON")
                self._connection = connection

    def do(self, work: Callable[Concatenate[Reader, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        assert self._connection is not None
        try:
            return work(_Plain(self._connection), *args, **kwargs)
        finally:
            _end(self._connection)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._engine.dispose()
