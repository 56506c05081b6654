"""Dead letters: events that could not be applied, stored with the reason until an operator decides."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from sqlalchemy import Executable, Row, Select, delete, select, tuple_, update
from sqlmodel import Session

from shared.clock import now
from shared.events.event import Envelope
from shared.events.parked import Parked, lock_line
from shared.events.tables import EventTables

LISTED_MAX = 1_000


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that a service received and could not apply."""

    seq: int
    id: str
    topic: str
    key: str
    attempts: int
    received: datetime
    reason: str
    blocks: bool
    event: Envelope

    @classmethod
    def of(cls, row: Row[Any]) -> Self:
        envelope = Envelope.model_validate_json(row.body)
        return cls(
            seq=row.seq,
            id=row.id,
            topic=row.topic,
            key=row.key,
            attempts=row.attempts,
            received=row.received,
            reason=row.reason or "",
            blocks=row.blocks,
            event=envelope,
        )


class DeadLetters:
    """The dead letters of one service."""

    def __init__(self, tables: EventTables) -> None:
        self._parked = tables.parked
        self._line = Parked(tables.parked, {})

    def oldest(self, session: Session, after: DeadLetter | None = None) -> list[DeadLetter]:
        """Return up to LISTED_MAX letters in order of arrival, beginning after `after` if it is given."""
        found = self._in_order()
        if after is not None:
            age = tuple_(self._parked.c.received, self._parked.c.seq)
            found = found.where(age > (after.received, after.seq))
        return self._read(session, found.limit(LISTED_MAX))

    def those(self, session: Session, ids: Sequence[str]) -> list[DeadLetter]:
        return self._read(session, self._in_order().where(self._parked.c.id.in_(ids)))

    def replay(self, session: Session, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        """Let the service retry these events in order; later events of their keys wait meanwhile.

        Return those that were still dead.
        """
        values = {"dead": False, "attempts": 0, "due": now()}
        replayed = update(self._parked).where(self._are(letters)).values(values)
        return _changed_by(session, replayed.returning(self._parked.c.id), letters)

    def drop(self, session: Session, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        """Delete these events; later events that they blocked continue. Return those that were still dead."""
        lock_line(session)
        dropped = delete(self._parked).where(self._are(letters)).returning(self._parked.c.id)
        gone = _changed_by(session, dropped, letters)
        self._line.advance(session, [letter.key for letter in gone])
        return gone

    def _in_order(self) -> Select[Any]:
        table = self._parked
        return select(table).where(table.c.dead).order_by(table.c.received, table.c.seq)

    def _read(self, session: Session, found: Select[Any]) -> list[DeadLetter]:
        return [DeadLetter.of(row) for row in session.connection().execute(found)]

    def _are(self, letters: Sequence[DeadLetter]) -> Any:
        """Match the letters that are still dead: another operator may have replayed one meanwhile."""
        return self._parked.c.id.in_([letter.id for letter in letters]) & self._parked.c.dead


def _changed_by(session: Session, statement: Executable, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
    """Run a statement that returns ids; return the letters it changed."""
    changed = {*session.connection().execute(statement).scalars()}
    return [letter for letter in letters if letter.id in changed]
