"""What others told us: applied once, in order per key, in the consumer's own transaction.

A batch is applied as a whole. When that fails, its events are applied one by one, and one that fails is
parked: kept here and tried again with growing pauses, until it succeeds or is dead. Later events of its key
wait behind it. So the sender is rid of what has arrived, and one event that cannot be applied holds up
nobody but its own key.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from itertools import groupby
from typing import Any

import structlog
from pydantic import ValidationError
from sqlalchemy import ColumnElement, Row, Select, delete, func, insert, or_, select, update
from sqlmodel import Session

from shared.clock import now
from shared.database import Database, insert_into
from shared.errors import Unavailable
from shared.events.event import Envelope, Event
from shared.events.failpoints import reached
from shared.events.tables import EventTables

ATTEMPTS_MAX = 8
PAUSE_FIRST = timedelta(seconds=2)
PAUSE_MAX = timedelta(minutes=15)
ATTEMPT_SECONDS_MAX = timedelta(minutes=2)
# A sender that had to try this often may be sending what kills us: from then on events are parked first,
# where attempts are counted before they are made.
SUSPICIOUS_ATTEMPT = 4
REASON_CHARACTERS_MAX = 500
DEADLY = "it ended the process that tried it, or took too long"

Consumer = Callable[[Session, Sequence[Any]], None]
Consumers = Mapping[type[Event], Consumer]

log = structlog.get_logger(__name__)


class Poison(Exception):
    """This event can never be applied: it is dead at once, with the words given here."""


class Inbox:
    """The inbox of one service."""

    def __init__(self, tables: EventTables, database: Database, consumes: Consumers) -> None:
        self._seen = tables.inbox
        self._parked = tables.parked
        self._database = database
        self._consumers = {kind.topic: (kind, consumer) for kind, consumer in consumes.items()}

    @property
    def topics(self) -> frozenset[str]:
        return frozenset(self._consumers)

    def receive(self, envelopes: Sequence[Envelope], attempt: int = 1) -> None:
        """Apply or park all of them; when this returns they are safe here. Blocks: call it in a thread."""
        wanted = [one for one in envelopes if one.topic in self._consumers]
        if not wanted:
            return
        if attempt >= SUSPICIOUS_ATTEMPT:
            self._in_transaction(self._park, wanted, "it was sent several times without success")
            return
        try:
            self._in_transaction(self._apply, wanted)
            reached("inbox: committed")
        except Unavailable:
            raise  # the database is away: the sender keeps them
        except Exception:  # noqa: BLE001 - whatever a consumer raises, one by one it is found out which
            for one in wanted:
                self._receive_alone(one)

    def _receive_alone(self, envelope: Envelope) -> None:
        try:
            self._in_transaction(self._apply, [envelope])
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a consumer raises, it is kept with the event
            log.warning("event_parked", topic=envelope.topic, event_id=envelope.id, error=repr(error))
            dead = isinstance(error, Poison)
            reached("inbox: parking")
            self._in_transaction(self._park, [envelope], _reason(error), attempts=1, dead=dead)
            reached("inbox: parked")

    def _in_transaction(self, work: Callable[..., None], *arguments: Any, **options: Any) -> None:
        with self._database.transaction() as session:
            work(session, *arguments, **options)

    def _apply(self, session: Session, envelopes: Sequence[Envelope]) -> None:
        fresh = self._first_seen(session, envelopes)
        reached("inbox: seen")
        held = self._held_keys(session, fresh)
        behind = [one for one in fresh if one.key in held]
        if behind:
            self._store(session, behind, "it waits for an earlier one of its key")
        free = [one for one in fresh if one.key not in held]
        for topic, group in groupby(free, key=lambda one: one.topic):
            self._consume(session, topic, list(group))
        reached("inbox: consumed")

    def _consume(self, session: Session, topic: str, envelopes: Sequence[Envelope]) -> None:
        kind, consumer = self._consumers[topic]
        newest = max(one.version for one in envelopes)
        if newest > kind.version:
            raise ValueError(f"version {newest} of {topic} is newer than this service; update it")
        consumer(session, [one.opened(kind) for one in envelopes])

    def _first_seen(self, session: Session, envelopes: Sequence[Envelope]) -> list[Envelope]:
        """Those not seen before, which from now on are."""
        at, seen, by_id = now(), self._seen, {one.id: one for one in envelopes}
        rows = [{"id": number, "received": at} for number in by_id]
        noted = insert_into(session, seen).values(rows).on_conflict_do_nothing().returning(seen.c.id)
        new = {row.id for row in session.connection().execute(noted)}
        return [one for one in by_id.values() if one.id in new]

    def _held_keys(self, session: Session, envelopes: Iterable[Envelope]) -> set[str]:
        keys = {one.key for one in envelopes}
        held = select(self._parked.c.key).where(self._parked.c.key.in_(keys), self._holds())
        return {row.key for row in session.connection().execute(held)}

    def _holds(self) -> ColumnElement[bool]:
        """Whether a parked event holds back the later ones of its key."""
        return or_(self._parked.c.dead.is_(False), self._parked.c.blocks)

    def _park(
        self,
        session: Session,
        envelopes: Sequence[Envelope],
        reason: str,
        attempts: int = 0,
        *,
        dead: bool = False,
    ) -> None:
        self._store(session, self._first_seen(session, envelopes), reason, attempts, dead=dead)

    def _store(
        self,
        session: Session,
        envelopes: Sequence[Envelope],
        reason: str,
        attempts: int = 0,
        *,
        dead: bool = False,
    ) -> None:
        at = now()
        rows = [
            {
                "id": one.id,
                "topic": one.topic,
                "key": one.key,
                "body": one.model_dump_json(),
                "received": at,
                "due": at + (PAUSE_FIRST if attempts else timedelta()),
                "attempts": attempts,
                "dead": dead,
                "blocks": self._consumers[one.topic][0].blocks,
                "reason": reason,
            }
            for one in envelopes
        ]
        if rows:
            session.connection().execute(insert(self._parked), rows)

    def retry_next(self) -> bool:
        """Try the oldest parked event whose time has come; False when there is none. Blocks."""
        with self._database.transaction(write=False) as session:
            if session.connection().execute(self._due().limit(1)).first() is None:
                return False  # as nearly always, and it has disturbed no writer
        with self._database.transaction() as session:
            row = self._claim_parked(session)
        if row is None:
            return False
        if row.dead:
            return True
        reached("retry: claimed")
        try:
            with self._database.transaction() as session:
                if self._take_out(session, row):
                    self._consume(session, row.topic, [Envelope.model_validate_json(row.body)])
                    reached("retry: consumed")
            reached("retry: committed")
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a consumer raises, it is kept with the event
            with self._database.transaction() as session:
                self._put_back(session, row, error)
        return True

    def _claim_parked(self, session: Session) -> Row[Any] | None:
        """The attempt is counted before it is made, so that an event that kills us is found out, too."""
        parked = self._parked
        oldest = self._due().limit(1).with_for_update(skip_locked=True)
        row = session.connection().execute(oldest).one_or_none()
        if row is None:
            return None
        is_spent = row.attempts >= ATTEMPTS_MAX
        taken: dict[str, Any] = {"attempts": row.attempts + 1, "due": now() + ATTEMPT_SECONDS_MAX}
        if is_spent:
            taken = {"dead": True, "reason": f"{DEADLY}; before that: {row.reason}"[:REASON_CHARACTERS_MAX]}
            log.error("event_dead", topic=row.topic, event_id=row.id, reason=taken["reason"])
        changed = update(parked).where(parked.c.seq == row.seq).values(taken).returning(parked)
        return session.connection().execute(changed).one()

    def _due(self) -> Select[Any]:
        """Those whose time has come and that no other of their key is in front of, oldest first."""
        parked, at = self._parked, now()
        # Grouped once: to look for each whether one is in front takes seconds when many wait behind one.
        first_of_keys = select(func.min(parked.c.seq)).where(self._holds()).group_by(parked.c.key)
        # What is due later than the longest pause was put off before the clock was put back.
        is_time = or_(parked.c.due <= at, parked.c.due > at + PAUSE_MAX)
        return (
            select(parked)
            .where(parked.c.dead.is_(False), is_time, parked.c.seq.in_(first_of_keys))
            .where(parked.c.topic.in_(self._consumers))
            .order_by(parked.c.seq)
        )

    def _take_out(self, session: Session, row: Row[Any]) -> bool:
        """First, and only while the claim still holds: another process may have taken over meanwhile."""
        return session.connection().execute(delete(self._parked).where(*self._claimed(row))).rowcount == 1

    def _claimed(self, row: Row[Any]) -> tuple[ColumnElement[bool], ...]:
        """Every claim counts an attempt, so that the number of attempts is the claim's."""
        parked = self._parked
        return (parked.c.id == row.id, parked.c.attempts == row.attempts, parked.c.dead.is_(False))

    def _put_back(self, session: Session, row: Row[Any], error: Exception) -> None:
        dead = row.attempts >= ATTEMPTS_MAX or isinstance(error, Poison)
        tell = log.error if dead else log.warning
        tell("event_dead" if dead else "event_failed", topic=row.topic, event_id=row.id, error=repr(error))
        pause = min(PAUSE_FIRST * 2**row.attempts, PAUSE_MAX)
        values = {"dead": dead, "due": now() + pause, "reason": _reason(error)}
        session.connection().execute(update(self._parked).where(*self._claimed(row)).values(values))

    def census(self, session: Session) -> tuple[int, int]:
        """How many events wait to be tried again, and how many are dead."""
        numbers = select(self._parked.c.dead, func.count()).group_by(self._parked.c.dead)
        counted = {bool(row[0]): row[1] for row in session.connection().execute(numbers)}
        return counted.get(False, 0), counted.get(True, 0)


def _reason(error: Exception) -> str:
    if isinstance(error, Poison):
        return str(error)[:REASON_CHARACTERS_MAX]
    if isinstance(error, ValidationError):
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        return f"its fields are not what its topic promises: {faults}"[:REASON_CHARACTERS_MAX]
    return repr(error)[:REASON_CHARACTERS_MAX]
