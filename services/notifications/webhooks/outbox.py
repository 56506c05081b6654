"""Messages to webhooks: queued in the transaction of what causes them, and repeated on request."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlmodel import Session

from services.notifications.models import WEBHOOK_ATTEMPTS, WEBHOOK_DELIVERIES, WEBHOOKS, WORK
from services.notifications.settings import Settings
from shared.clock import now
from shared.ids import first_id, new_id
from shared.work.changes import Changes
from shared.work.leased import Queue, clock

QUEUE = "webhook"
TEST = "webhook.test"
# A lease covers a call, and the transaction that notes its outcome.
LEASE_TIMEOUTS = 3
REPLAYED_AT_ONCE = 1_000
FORGOTTEN_AT_ONCE = 1_000
_NO_LIMIT = 2**31 - 2


class State(StrEnum):
    """The state of a message."""

    QUEUED = "queued"
    SENDING = "sending"
    DELIVERED = "delivered"
    FAILED = "failed"


ENDED = (State.DELIVERED, State.FAILED)


class Outbox:
    """Queues, repeats and ends messages, within the caller's transaction."""

    def __init__(self, settings: Settings, changes: Changes) -> None:
        self._changes = changes
        lease = timedelta(seconds=LEASE_TIMEOUTS * settings.webhook_timeout_seconds)
        self.queue = Queue(WORK, QUEUE, lease=lease, attempts_max=_NO_LIMIT)

    def subscribed(self, session: Session, people: Collection[str]) -> dict[tuple[str, str], list[str]]:
        """Return the enabled webhooks of these accounts, by account and type of message."""
        enabled = WEBHOOKS.c.user_id.in_(people), WEBHOOKS.c.is_enabled.is_(True)
        found = select(WEBHOOKS.c.id, WEBHOOKS.c.user_id, WEBHOOKS.c.types).where(*enabled)
        webhooks: dict[tuple[str, str], list[str]] = {}
        for row in session.connection().execute(found):
            for kind in json.loads(row.types):
                webhooks.setdefault((row.user_id, kind), []).append(row.id)
        return webhooks

    def add(
        self,
        session: Session,
        webhook_ids: Iterable[str],
        user_id: str,
        kind: str,
        data: Mapping[str, Any],
        *,
        expires: datetime | None = None,
    ) -> list[str]:
        """Queue one message per webhook, and return their ids."""
        at = now()
        content = {"type": kind, "timestamp": at.isoformat().replace("+00:00", "Z"), "data": dict(data)}
        body = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        rows = [
            {
                "id": new_id(),
                "webhook_id": webhook_id,
                "user_id": user_id,
                "type": kind,
                "body": body,
                "state": State.QUEUED,
                "attempts": 0,
                "created": at,
                "expires": expires,
            }
            for webhook_id in webhook_ids
        ]
        if rows:
            session.connection().execute(insert(WEBHOOK_DELIVERIES), rows)
            self._queue(session, [str(row["id"]) for row in rows])
        return [str(row["id"]) for row in rows]

    def replay(self, session: Session, delivery_id: str) -> bool:
        """Queue a message again, with its id; return False if it has not ended."""
        return bool(self._again(session, [delivery_id]))

    def replay_span(
        self, session: Session, webhook_id: str, begin: str, end: str, *, with_delivered: bool
    ) -> tuple[int, str | None]:
        """Queue the oldest messages between two ids again: the failed ones, or all that have ended.

        Return how many, and the id to continue after; None if these were all.
        """
        table = WEBHOOK_DELIVERIES
        span = table.c.webhook_id == webhook_id, table.c.id > begin, table.c.id < end
        some = select(table.c.id).where(*span)
        if not with_delivered:
            some = some.where(table.c.state == State.FAILED)
        some = some.order_by(table.c.id).limit(REPLAYED_AT_ONCE + 1)
        found = list(session.connection().execute(some).scalars())
        taken = found[:REPLAYED_AT_ONCE]
        return len(self._again(session, taken)), taken[-1] if len(found) > REPLAYED_AT_ONCE else None

    def hasten(self, session: Session, webhook_id: str) -> None:
        """Make the oldest waiting messages due now, because their webhook was changed."""
        table, work = WEBHOOK_DELIVERIES, WORK.work
        waiting = table.c.webhook_id == webhook_id, table.c.state == State.QUEUED
        some = select(table.c.id).where(*waiting).order_by(table.c.id).limit(REPLAYED_AT_ONCE)
        ids = [_work_id(one) for one in session.connection().execute(some).scalars()]
        idle = update(work).where(work.c.id.in_(ids), work.c.lease.is_(None))
        session.connection().execute(idle.values(due=clock(session)))
        self._changes.note(session, QUEUE)

    def _again(self, session: Session, delivery_ids: Sequence[str]) -> list[str]:
        table = WEBHOOK_DELIVERIES
        ended = update(table).where(table.c.id.in_(delivery_ids), table.c.state.in_(ENDED))
        anew = ended.values(state=State.QUEUED, code=None, finished=None).returning(table.c.id)
        queued = list(session.connection().execute(anew).scalars())
        if queued:
            self._queue(session, queued)
        return queued

    def _queue(self, session: Session, delivery_ids: Sequence[str]) -> None:
        for delivery_id in delivery_ids:
            self.queue.add(session, delivery_id, work_id=_work_id(delivery_id))
        self._changes.note(session, QUEUE)

    def end(self, session: Session, delivery_id: str, state: State, code: str | None = None) -> None:
        """Record the outcome of a message."""
        mine = update(WEBHOOK_DELIVERIES).where(WEBHOOK_DELIVERIES.c.id == delivery_id)
        session.connection().execute(mine.values(state=state, code=code, finished=now()))

    def tests_since(self, session: Session, webhook_id: str, since: datetime, most: int) -> int:
        """Count the test messages of a webhook since then, up to `most`."""
        table = WEBHOOK_DELIVERIES
        recent = table.c.webhook_id == webhook_id, table.c.type == TEST, table.c.id >= first_id(since)
        some = select(table.c.id).where(*recent).limit(most).subquery()
        number: int = session.connection().execute(select(func.count()).select_from(some)).scalar_one()
        return number

    def forget_webhook(self, session: Session, webhook_id: str) -> None:
        """Delete a webhook with its messages. One that is being sent right now may arrive."""
        self._forget(session, WEBHOOK_DELIVERIES.c.webhook_id == webhook_id)
        session.connection().execute(delete(WEBHOOKS).where(WEBHOOKS.c.id == webhook_id))

    def forget_people(self, session: Session, people: Collection[str]) -> None:
        """Delete the webhooks of deleted accounts with their messages."""
        self._forget(session, WEBHOOK_DELIVERIES.c.user_id.in_(people))
        session.connection().execute(delete(WEBHOOKS).where(WEBHOOKS.c.user_id.in_(people)))

    def _forget(self, session: Session, whose: Any) -> None:
        execute, table = session.connection().execute, WEBHOOK_DELIVERIES
        some = select(table.c.id).where(whose).limit(FORGOTTEN_AT_ONCE)
        while ids := list(execute(some).scalars()):
            self.delete(session, ids)

    def delete(self, session: Session, delivery_ids: Collection[str]) -> None:
        """Delete messages with their work and their attempts."""
        execute, table = session.connection().execute, WEBHOOK_DELIVERIES
        execute(delete(WORK.work).where(WORK.work.c.id.in_([_work_id(one) for one in delivery_ids])))
        execute(delete(WEBHOOK_ATTEMPTS).where(WEBHOOK_ATTEMPTS.c.delivery_id.in_(delivery_ids)))
        execute(delete(table).where(table.c.id.in_(delivery_ids)))


def _work_id(delivery_id: str) -> str:
    return f"{QUEUE}:{delivery_id}"
