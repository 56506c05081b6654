"""Sessions of PostgreSQL that the engines of one test after another use.

A test opens one to three. For a new one the server starts a process, which looks up all tables again; that
takes longer than what a short test does with it.
"""

import os
import select
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import psycopg
from psycopg._preparing import PrepareManager
from psycopg.pq import ExecStatus
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg, _log_notices
from sqlalchemy.engine import URL, make_url

FREE_MAX = 8  # for equal parameters

Session = psycopg.Connection[Any]
Parameters = tuple[tuple[str, str], ...]


class _Address(NamedTuple):
    host: str | None
    port: int | None
    database: str | None


_free: dict[_Address, dict[Parameters, list[Session]]] = {}
_owners: WeakKeyDictionary[Session, tuple[_Address, Parameters]] = WeakKeyDictionary()


@contextmanager
def kept(url: str) -> Iterator[None]:
    """Keep the sessions of this database that engines close, for the next engine."""
    address = _address(make_url(url))
    _free[address] = defaultdict(list)
    try:
        yield
    finally:
        end_free_ones(url)
        del _free[address]


def end_free_ones(url: str) -> None:
    """Let engines open new sessions: only those see a changed setting of the database."""
    for sessions in _free.get(_address(make_url(url)), {}).values():
        while sessions:
            sessions.pop().close()


def free_ones(url: str) -> list[int]:
    """Return the ids of the server processes whose sessions no engine uses."""
    every = _free.get(_address(make_url(url)), {})
    return [session.pgconn.backend_pid for sessions in every.values() for session in sessions]


def keep_sessions() -> None:
    """Let the engines of SQLAlchemy take and return sessions, where they are kept."""
    os.register_at_fork(after_in_child=_free.clear)  # two processes cannot use one session
    connect: Callable[..., Any] = PGDialect_psycopg.connect
    close: Callable[..., Any] = PGDialect_psycopg.do_close

    def take(self: PGDialect_psycopg, *arguments: Any, **parameters: Any) -> Any:
        address = _Address(parameters.get("host"), parameters.get("port"), parameters.get("dbname"))
        if address not in _free:
            return connect(self, *arguments, **parameters)
        # Adapters are the same in all engines.
        key = tuple(sorted((name, str(value)) for name, value in parameters.items() if name != "context"))
        while free := _free[address][key]:
            kept_one = free.pop()
            if not _has_news(kept_one):
                return kept_one
            kept_one.close()
        session: Session = connect(self, *arguments, **parameters)
        _owners[session] = address, key
        return session

    def give_back(self: PGDialect_psycopg, session: Session) -> None:
        address, key = _owners.get(session, (None, ()))
        free = _free[address][key] if address in _free else None
        if free is not None and len(free) < FREE_MAX and _is_reset(session):
            free.append(session)
        else:
            close(self, session)

    for name, replacement in {"connect": take, "do_close": give_back, "do_terminate": close}.items():
        setattr(PGDialect_psycopg, name, replacement)


def _address(url: URL) -> _Address:
    return _Address(url.host, url.port, url.database)


def _has_news(session: Session) -> bool:
    """Return whether the server has sent something to a session that asked for nothing, such as its end."""
    waiting = select.poll()
    waiting.register(session.fileno(), select.POLLIN)
    return bool(waiting.poll(0))


def _is_reset(session: Session) -> bool:
    """Give up all that the session has set, prepared, locked and stored; return whether it still works."""
    try:
        session.rollback()
        # Not by `execute`, after which psycopg would still know the statements that it has prepared.
        done = session.pgconn.exec_(b"DISCARD ALL").status
        session.autocommit = False
        session.isolation_level = session.read_only = session.deferrable = None
    except psycopg.Error:
        return False
    session.remove_notice_handler(_log_notices)
    session._prepared = PrepareManager()
    return done == ExecStatus.COMMAND_OK
