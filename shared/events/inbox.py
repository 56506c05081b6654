"""Received events: applied once, in order per key, in the consumer's own transaction.

A batch is applied as a whole. If that fails, its events are applied one by one, and those that fail are
parked: stored here and retried with growing pauses until they succeed or are dead. Later events of the same
key wait. So the sender can delete what has arrived, and a failing event delays only its own key. Parked
events that were never tried are applied in batches too.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import structlog
from prometheus_client import Counter
from pydantic import ValidationError
from pydantic_core import to_json
from sqlalchemy import Row
from sqlmodel import Session

from shared.clock import now
from shared.data.database import Database, TookTooLong, UtcDateTime, execute_in_driver
from shared.errors import Unavailable
from shared.events.event import Envelope, Event
from shared.events.failpoints import reached
from shared.events.parked import REASON_CHARACTERS_MAX, Parked
from shared.events.tables import EventTables
from shared.tracing import spans

# After this many lost responses the batch itself may be killing this process. From then on its events are
# parked first, because attempts at parked events are counted before they are made.
SUSPICIOUS_ATTEMPT = 4

_RECEIVED = UtcDateTime()

Consumer = Callable[[Session, Sequence[Any]], None]
Consumers = Mapping[type[Event], Consumer]

log = structlog.get_logger(__name__)


REFUSED = Counter("events_refused", "Events from a sender that may not send them", ["reason"])


def refuse(reason: str, **details: object) -> None:
    """Count and log a refused event."""
    REFUSED.labels(reason).inc()
    log.error("event_refused", reason=reason, **details)


class Poison(Exception):
    """Raised by consumers: this event can never be applied. It is dead at once, with this message."""


class Inbox:
    """The inbox of one service."""

    def __init__(self, tables: EventTables, database: Database, consumes: Consumers) -> None:
        insert = f"INSERT INTO {tables.inbox.name} (id, received)"
        once = "ON CONFLICT DO NOTHING RETURNING id"
        self._note_seen = {
            "sqlite": f"{insert} SELECT value, ? FROM json_each(?) WHERE true {once}",  # noqa: S608 - names of ours
            "postgresql": f"{insert} SELECT id, %s FROM unnest(%s::text[]) AS id {once}",  # noqa: S608 - names of ours
        }
        self._database = database
        self._consumers = {kind.topic: (kind, consumer) for kind, consumer in consumes.items()}
        self.parked = Parked(tables.parked, {kind.topic: kind.blocks for kind in consumes})
        self._interrupted: Sequence[Row[Any]] = ()  # events claimed when the database became unreachable

    @property
    def topics(self) -> frozenset[str]:
        return frozenset(self._consumers)

    def receive(self, envelopes: Sequence[Envelope], attempt: int = 1, sender: str | None = None) -> None:
        """Apply or park all events; they are durable when this returns. Blocks: call it in a thread.

        Events that the sender may not send are refused: neither applied nor stored.
        """
        known = [one for one in envelopes if one.topic in self._consumers]
        wanted = [self._in_line(one) for one in known if self._may_tell(one, sender)]
        if not wanted:
            return
        if attempt >= SUSPICIOUS_ATTEMPT:
            self._in_transaction(self._park, wanted, "it was sent several times without success")
            return
        with _processing(wanted):
            self._receive_all(wanted)

    def _receive_all(self, wanted: Sequence[Envelope]) -> None:
        try:
            self._in_transaction(self._apply, wanted)
            reached("inbox: committed")
        except Exception as error:
            if _is_away(error):
                raise  # the sender keeps the events
            for one in wanted:  # to find the one at fault
                self._receive_alone(one)

    def _may_tell(self, envelope: Envelope, sender: str | None) -> bool:
        kind, _ = self._consumers[envelope.topic]
        is_its_own = sender in (None, envelope.source)
        if is_its_own and kind.may_come_from(envelope.source, envelope.data):
            return True
        refuse("source", topic=envelope.topic, source=envelope.source, sender=sender)
        return False

    def _in_line(self, envelope: Envelope) -> Envelope:
        """Give an event that need not wait a key of its own: senders may use one key for many events."""
        kind, _ = self._consumers[envelope.topic]
        return envelope if kind.waits else envelope.model_copy(update={"key": f"{kind.topic} {envelope.id}"})

    def _receive_alone(self, envelope: Envelope) -> None:
        try:
            self._in_transaction(self._apply, [envelope])
        except Exception as error:
            if _is_away(error):
                raise
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
        held = self.parked.behind(session, fresh)
        behind = [one for one in fresh if one.key in held]
        self.parked.put(session, behind, "waits for an earlier event of its key", held=held)
        self._consume_all(session, [one for one in fresh if one.key not in held])
        reached("inbox: consumed")

    def _consume_all(self, session: Session, envelopes: Sequence[Envelope]) -> None:
        for topic, group in groupby(envelopes, key=lambda one: one.topic):
            self._consume(session, topic, list(group))

    def _consume(self, session: Session, topic: str, envelopes: Sequence[Envelope]) -> None:
        kind, consumer = self._consumers[topic]
        newest = max(one.version for one in envelopes)
        if newest > kind.version:
            raise ValueError(
                f"this service does not know version {newest} of {topic} yet; update the service"
            )
        consumer(session, [one.opened(kind) for one in envelopes])

    def _first_seen(self, session: Session, envelopes: Sequence[Envelope]) -> list[Envelope]:
        """Mark all events as seen; return those not seen before.

        Of events with the same id, the first counts. A batch from Redis has events of several services, and
        each service can read the ids of the others: a later event must not take the place of an earlier one.
        """
        by_id: dict[str, Envelope] = {}
        for one in envelopes:
            by_id.setdefault(one.id, one)
        connection = session.connection()
        received = _RECEIVED.process_bind_param(now(), connection.dialect)
        ids = [*by_id] if connection.dialect.name == "postgresql" else to_json([*by_id]).decode()
        statement = self._note_seen[connection.dialect.name]
        new = {row[0] for row in execute_in_driver(connection, statement, (received, ids))}
        return [one for one in by_id.values() if one.id in new]

    def _park(
        self,
        session: Session,
        envelopes: Sequence[Envelope],
        reason: str,
        attempts: int = 0,
        *,
        dead: bool = False,
    ) -> None:
        fresh = self._first_seen(session, envelopes)
        held = self.parked.behind(session, fresh)
        self.parked.put(session, fresh, reason, attempts=attempts, dead=dead, held=held)

    def retry_next(self) -> bool:
        """Retry a batch of parked events that are due; return False if there is none. Blocks."""
        if self._interrupted:  # the database was unreachable, which does not count as an attempt
            self._in_transaction(self.parked.release, self._interrupted)
            self._interrupted = ()
        with self._database.transaction(write=False) as session:
            if not self.parked.is_anything_due(session):
                return False  # the usual case, checked without a write transaction
        with self._database.transaction() as session:
            rows = self.parked.claim(session)
        reached("retry: claimed")
        if rows:
            self._retry(rows)
        return True

    def _retry(self, rows: Sequence[Row[Any]]) -> None:
        try:
            self._apply_parked(rows)
            reached("retry: committed")
        except Exception as error:
            if _is_away(error):
                self._interrupted = rows
                raise
            if len(rows) == 1:
                self._put_back(rows[0], error)
            else:  # to find the one at fault
                self._retry_each(rows)

    def _apply_parked(self, rows: Sequence[Row[Any]], *, following: Row[Any] | None = None) -> bool:
        """Apply parked events unless another process has claimed one; return whether they were applied.

        `following` is the next event of the key, if this process has claimed it as well.
        """
        with self._database.transaction() as session:
            if not self.parked.take_out(session, rows):
                session.rollback()
                return False
            envelopes = [Envelope.model_validate_json(row.body) for row in rows]
            with _processing(envelopes):
                self._consume_all(session, envelopes)
            if following is None:
                self.parked.advance(session, [row.key for row in rows])
            else:
                self.parked.keep(session, following)
            reached("retry: consumed")
            return True

    def _retry_each(self, rows: Sequence[Row[Any]]) -> None:
        """Apply the events of each key up to the first that fails."""
        lines: dict[str, list[Row[Any]]] = {}
        for row in rows:
            lines.setdefault(row.key, []).append(row)
        for number, line in enumerate(lines.values()):
            try:
                self._retry_line(line)
            except Unavailable:
                self._interrupted = [row for later in [*lines.values()][number:] for row in later]
                raise

    def _retry_line(self, line: Sequence[Row[Any]]) -> None:
        for number, row in enumerate(line):
            later = line[number + 1 :]
            try:
                if not self._apply_parked([row], following=later[0] if later else None):
                    return  # the rest waits for the process that has claimed this one
            except Exception as error:
                if _is_away(error):
                    raise
                self._put_back(row, error)
                if later:
                    self._in_transaction(self.parked.release, later)
                return

    def _put_back(self, row: Row[Any], error: Exception) -> None:
        is_poison = isinstance(error, Poison)
        self._in_transaction(self.parked.put_back, row, error, reason=_reason(error), dead=is_poison)


@contextmanager
def _processing(envelopes: Sequence[Envelope]) -> Iterator[None]:
    """Trace the work if events of sampled traces are among them; the span links to their publishing."""
    topics = {one.topic for one in envelopes}
    name = topics.pop() if len(topics) == 1 else "events"
    with spans.consuming(f"process {name}", [one.trace for one in envelopes]) as span:
        if span is not None:
            number = {"messaging.batch.message_count": len(envelopes)}
            span.put({"messaging.operation.type": "process", **number})
        yield


def _is_away(error: Exception) -> bool:
    """Whether the database was unreachable, which says nothing about the event."""
    return isinstance(error, Unavailable) and not isinstance(error, TookTooLong)


def _reason(error: Exception) -> str:
    if isinstance(error, Poison):
        return str(error)[:REASON_CHARACTERS_MAX]
    if isinstance(error, ValidationError):
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        return f"its fields do not match its topic: {faults}"[:REASON_CHARACTERS_MAX]
    return repr(error)[:REASON_CHARACTERS_MAX]
