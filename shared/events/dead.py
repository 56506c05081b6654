"""Dead letters: events that could not be applied, stored with the reason until an operator decides."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from sqlalchemy import Row, delete, select, update
from sqlmodel import Session

from shared.clock import now
from shared.events.event import Envelope
from shared.events.parked import Parked, lock_line
from shared.events.tables import EventTables

LISTED_MAX = 1_000


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that a service received and could not apply."""

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
        reason = row.reason or ""
        return cls(row.id, row.topic, row.key, row.attempts, row.received, reason, row.blocks, envelope)


class DeadLetters:
    """The dead letters of one service."""

    def __init__(self, tables: EventTables) -> None:
        self._parked = tables.parked
        self._line = Parked(tables.parked, {})

    def all(self, session: Session) -> list[DeadLetter]:
        """Return all, the oldest first."""
        return self._read(session, None)

    def those(self, session: Session, ids: Sequence[str]) -> list[DeadLetter]:
        return self._read(session, ids)

    def replay(self, session: Session, letters: Sequence[DeadLetter]) -> None:
        """Let the service retry them in order; later events of their keys wait meanwhile."""
        values = {"dead": False, "attempts": 0, "due": now()}
        session.connection().execute(update(self._parked).where(self._are(letters)).values(values))

    def drop(self, session: Session, letters: Sequence[DeadLetter]) -> None:
        """Delete them; later events that they blocked continue."""
        lock_line(session)
        session.connection().execute(delete(self._parked).where(self._are(letters)))
        self._line.advance(session, [letter.key for letter in letters])

    def _read(self, session: Session, ids: Sequence[str] | None) -> list[DeadLetter]:
        table = self._parked
        found = select(table).where(table.c.dead).order_by(table.c.seq).limit(LISTED_MAX)
        if ids is not None:
            found = found.where(table.c.id.in_(ids))
        return [DeadLetter.of(row) for row in session.connection().execute(found)]

    def _are(self, letters: Sequence[DeadLetter]) -> Any:
        """Match those that are still dead: another operator may have replayed one meanwhile."""
        return self._parked.c.id.in_([letter.id for letter in letters]) & self._parked.c.dead
