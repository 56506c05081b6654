"""Small pieces of work of concurrent requests, in one transaction.

Beginning and committing a transaction costs several times as much as writing one row. Pieces that arrive
while a transaction runs form the next one, so an idle service gains and loses nothing.
"""

import asyncio
import contextvars
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, TypeVar

from sqlalchemy.exc import OperationalError
from sqlmodel import Session

from shared.errors import Overloaded

T = TypeVar("T")

PIECES_MAX = 16  # a transaction with more would delay other writers on SQLite
WAITING_MAX = 1_000


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


class Together:
    """Runs pieces in the order of their arrival.

    If one fails, all of its transaction are rolled back and each runs again in a transaction of its own. So a
    piece must be repeatable. It shares the session with strangers: it must not load objects or take locks.
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
            self._runner = asyncio.create_task(self._run_all(), name="work done together")
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
                results = [_done(piece, session) for piece in pieces]
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


def _settle(future: asyncio.Future[Any], outcome: Outcome) -> None:
    if future.cancelled():
        return
    if outcome.failure is None:
        future.set_result(outcome.result)
    else:
        future.set_exception(outcome.failure)
