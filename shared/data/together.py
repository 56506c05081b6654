"""Small pieces of work of concurrent requests, in one transaction.

Beginning and committing a transaction costs several times as much as writing one row. Pieces that arrive
while a transaction runs form the next one, so an idle service gains and loses nothing. The pieces of one
transaction also share what several of them read, and their inserted rows become one statement at its end.
"""

import asyncio
import contextvars
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, TypeVar

from sqlalchemy.exc import OperationalError
from sqlmodel import Session

from shared.errors import Overloaded

T = TypeVar("T")
Parameters = Sequence[Any] | Mapping[str, Any]  # of one execution of a statement

PIECES_MAX = 16  # a transaction with more would delay other writers on SQLite
WAITING_MAX = 1_000
COMMON = "common"  # the key in `session.info` of what the pieces of a transaction share


class Transactions(Protocol):
    """What a database offers."""

    def transaction(self) -> AbstractContextManager[Session]: ...

    async def in_thread(self, work: Callable[..., Any], *args: Any, write: bool = False) -> Any: ...


class Piece(NamedTuple):
    future: asyncio.Future[Any]
    context: contextvars.Context
    work: Callable[[Session], Any]

    def do(self, session: Session) -> Any:
        return self.context.run(self.work, session)


class Outcome(NamedTuple):
    result: Any
    failure: Exception | None = None


class _PieceFailed(Exception):
    """One piece of several failed."""


class Common:
    """What the pieces of one transaction share: values read once, and rows to insert at its end."""

    __slots__ = ("_read", "_rows")

    def __init__(self) -> None:
        self._read: dict[Hashable, Any] = {}
        self._rows: dict[str, list[Parameters]] = {}

    def read(self, key: Hashable, read: Callable[[], T]) -> T:
        if key not in self._read:
            self._read[key] = read()
        found: T = self._read[key]
        return found

    def insert(self, statement: str, row: Parameters) -> None:
        """Insert the row at the end of the transaction, together with all other rows of this statement."""
        self._rows.setdefault(statement, []).append(row)

    def insert_all(self, session: Session) -> None:
        for statement, rows in self._rows.items():
            session.connection().exec_driver_sql(statement, rows)


def common_of(session: Session) -> Common | None:
    """Return what this transaction's pieces share; None in a transaction of one piece of work."""
    common: Common | None = session.info.get(COMMON)
    return common


def read_once(session: Session, key: Hashable, read: Callable[[], T]) -> T:
    """Return what `read` returns, which other pieces of this transaction may have read already.

    Only for values that no piece changes. A piece waits for its transaction to begin, so it never gets a
    value that was read before its request arrived.
    """
    common = common_of(session)
    return read() if common is None else common.read(key, read)


class Together:
    """Runs pieces in the order of their arrival.

    If one fails, all pieces of its transaction are rolled back and each runs again in a transaction of its
    own. So a piece must be repeatable. It shares the session with strangers: it must not load objects or take
    locks.
    """

    def __init__(self, database: Transactions) -> None:
        self._database = database
        self._waiting: list[Piece] = []
        self._runner: asyncio.Task[None] | None = None

    async def run(self, work: Callable[[Session], T]) -> T:
        """Return the result of `work(session)` once it is committed."""
        if len(self._waiting) >= WAITING_MAX:
            raise Overloaded
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(Piece(future, contextvars.copy_context(), work))
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(
                self._run_all(), name="work done together", context=contextvars.Context()
            )
        return await future

    async def _run_all(self) -> None:
        while self._waiting:
            pieces, self._waiting = self._waiting[:PIECES_MAX], self._waiting[PIECES_MAX:]
            try:
                outcomes = await self._database.in_thread(self._commit, pieces, write=True)
            except Exception as error:  # noqa: BLE001 - raised again in the callers
                outcomes = [Outcome(None, error)] * len(pieces)
            for piece, outcome in zip(pieces, outcomes, strict=True):
                _settle(piece.future, outcome)

    def _commit(self, pieces: list[Piece]) -> list[Outcome]:
        try:
            with self._database.transaction() as session:
                common = session.info[COMMON] = Common()
                results = [_done(piece, session) for piece in pieces]
                _insert(common, session)
        except _PieceFailed:
            return [self._commit_alone(piece) for piece in pieces]
        return [Outcome(result) for result in results]

    def _commit_alone(self, piece: Piece) -> Outcome:
        try:
            with self._database.transaction() as session:
                result = piece.do(session)
        except Exception as error:  # noqa: BLE001 - raised again in the caller
            return Outcome(None, error)
        return Outcome(result)


def _done(piece: Piece, session: Session) -> Any:
    try:
        return piece.do(session)
    except OperationalError:  # of the database itself, so it concerns all pieces
        raise
    except Exception as error:
        raise _PieceFailed from error


def _insert(common: Common, session: Session) -> None:
    try:
        common.insert_all(session)
    except OperationalError:
        raise
    except Exception as error:  # of one row, and it is unknown of which piece
        raise _PieceFailed from error


def _settle(future: asyncio.Future[Any], outcome: Outcome) -> None:
    if future.cancelled():
        return
    if outcome.failure is None:
        future.set_result(outcome.result)
    else:
        future.set_exception(outcome.failure)
