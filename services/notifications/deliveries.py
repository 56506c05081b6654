"""Deliveries, each to one address: queued in the transaction of their cause, with their content sealed."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import delete, or_, select, update
from sqlmodel import Session

from contracts.deliveries import DeliveryBounced, DeliveryFailed
from services.notifications.errors import Suppressed
from services.notifications.kinds import Channel
from services.notifications.languages import Language
from services.notifications.mail.templates import SECURITY
from services.notifications.models import ATTEMPTS, DELIVERIES, ERROR_CHARACTERS_MAX, WORK
from services.notifications.reasons import Reason, stops
from services.notifications.settings import Settings
from services.notifications.suppressions import Suppressions
from shared.clock import now
from shared.data.database import insert_into
from shared.data.sealed import SealedColumn
from shared.events import emit
from shared.work.changes import Changes
from shared.work.leased import Queue, clock

QUEUES = {Channel.EMAIL: "mail", Channel.SMS: "sms"}
ATTEMPTS_MAX = 8
BOUNCED = "bounced"  # the code of a mail that its provider had accepted
FORGOTTEN_AT_ONCE = 1_000
_NO_LIMIT = 2**31 - 2


class State(StrEnum):
    """The state of a delivery."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    DELIVERED = "delivered"
    FAILED = "failed"
    SUPPRESSED = "suppressed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


ENDED = (State.SENT, State.DELIVERED, State.FAILED, State.SUPPRESSED, State.CANCELLED, State.EXPIRED)
_UNREPORTED = (State.QUEUED, State.SENDING, State.SENT)


@dataclass(frozen=True, slots=True)
class Draft:
    """A delivery that is not stored yet. Its content is sealed; `planned` is the end of quiet hours."""

    id: str
    user_id: str | None
    template: str
    to: str
    content: Mapping[str, Any]
    expires: datetime | None
    planned: datetime | None
    language: Language
    text_version: str | None = None


class Deliveries:
    """Queues, repeats and cancels the deliveries of one channel, within the caller's transaction."""

    def __init__(
        self,
        channel: Channel,
        settings: Settings,
        changes: Changes,
        suppressions: Suppressions,
        lease: timedelta,
    ) -> None:
        self.channel, self.suppressions, self._changes = channel, suppressions, changes
        self.sealed = SealedColumn(settings.sealer(), DELIVERIES.c.sealed)
        self.queue = Queue(WORK, QUEUES[channel], lease=lease, attempts_max=_NO_LIMIT)

    def store(self, session: Session, draft: Draft, state: State, code: str | None) -> bool:
        """Store a delivery once, and queue it if it is to be sent; return False if it was known."""
        return bool(self.store_all(session, [(draft, state, code)]))

    def store_all(self, session: Session, some: Sequence[tuple[Draft, State, str | None]]) -> set[str]:
        """Store deliveries like `store`, by one statement for all; return the ids of those that are new."""
        if not some:
            return set()
        at, rows = now(), {draft.id: (draft, self._row(draft, state, code)) for draft, state, code in some}
        adding = insert_into(session, DELIVERIES).on_conflict_do_nothing().returning(DELIVERIES.c.id)
        new = {*session.connection().execute(adding, [row for _, row in rows.values()]).scalars()}
        waits = {
            self._work_id(one): (one, max((draft.planned or at) - at, timedelta(0)))
            for one, (draft, row) in rows.items()
            if one in new and row["state"] is State.QUEUED
        }
        if waits:
            self.queue.add_all(session, waits)
            self._changes.note(session, self.queue.name)
        _tell_failed(session, [one for one in new if rows[one][1]["state"] is State.FAILED])
        return new

    def _row(self, draft: Draft, state: State, code: str | None) -> dict[str, Any]:
        is_queued, at = state is State.QUEUED, now()
        return {
            "id": draft.id,
            "user_id": draft.user_id,
            "channel": self.channel,
            "template": draft.template,
            "to_hash": self.suppressions.hash(self.channel, draft.to),
            "sealed": self.sealed.seal(draft.id, json.dumps(draft.content)) if is_queued else None,
            "state": state,
            "attempts": 0,
            "code": code,
            "expires": draft.expires,
            "planned": draft.planned,
            "language": draft.language,
            "text_version": draft.text_version,
            "created": at,
            "finished": None if is_queued else at,
        }

    def has(self, session: Session, delivery_id: str) -> bool:
        found = select(DELIVERIES.c.id).where(DELIVERIES.c.id == delivery_id)
        return session.connection().execute(found).first() is not None

    def silenced(self, session: Session, rows: Collection[Mapping[str, Any]]) -> dict[str, Reason]:
        """Return the deliveries that may not be sent any more, with the reason."""
        reasons: dict[str, list[Reason]] = {}
        for to_hash, reason in self.suppressions.reasons(session, {row["to_hash"] for row in rows}):
            reasons.setdefault(to_hash, []).append(reason)
        return {
            row["id"]: reason
            for row in rows
            for reason in reasons.get(row["to_hash"], ())
            if stops(reason, is_security=row["template"] in SECURITY)
        }

    def repeat(self, session: Session, delivery_id: str) -> bool:
        """Queue a failed delivery again; return False if it has not failed, or its content was deleted.

        Raise Suppressed if it would not be sent.
        """
        failed = DELIVERIES.c.id == delivery_id, DELIVERIES.c.state == State.FAILED
        columns = DELIVERIES.c.id, DELIVERIES.c.to_hash, DELIVERIES.c.template
        for row in session.connection().execute(select(*columns).where(*failed)).mappings():
            if (reason := self.silenced(session, [dict(row)]).get(delivery_id)) is not None:
                raise Suppressed(reason=reason)
        anew = update(DELIVERIES).where(*failed, DELIVERIES.c.sealed.is_not(None))
        values = {"state": State.QUEUED, "code": None, "error": None, "provider_id": None, "finished": None}
        if not session.connection().execute(anew.values(values)).rowcount:
            return False
        self.queue.add(session, delivery_id, work_id=self._work_id(delivery_id))
        self._changes.note(session, self.queue.name)
        return True

    def cancel(self, session: Session, delivery_id: str) -> bool:
        """Cancel a waiting delivery; return False if it is being sent or has ended."""
        if not self.queue.withdraw(session, self._work_id(delivery_id)):
            return False
        self.end(session, delivery_id, State.CANCELLED)
        return True

    def end(
        self,
        session: Session,
        delivery_id: str,
        state: State,
        code: str | None = None,
        error: str | None = None,
        **also: Any,
    ) -> None:
        """Record the outcome. The content is deleted, unless the delivery failed and may be repeated."""
        self.end_all(session, [delivery_id], state, code, error, **also)

    def end_all(
        self,
        session: Session,
        delivery_ids: Collection[str],
        state: State,
        code: str | None = None,
        error: str | None = None,
        **also: Any,
    ) -> None:
        """Record the same outcome of several, in one statement."""
        values: dict[str, Any] = {"state": state, "code": code, "error": error, "finished": now(), **also}
        if state is not State.FAILED:
            values["sealed"] = None
        mine = update(DELIVERIES).where(DELIVERIES.c.id.in_(delivery_ids))
        session.connection().execute(mine.values(values))
        if state is State.FAILED:
            _tell_failed(session, delivery_ids)

    def accepted(self, session: Session, delivery_id: str, provider_id: str) -> None:
        """Note that a provider has accepted a delivery, which ends it at once if its response was lost."""
        execute = session.connection().execute
        taken = select(DELIVERIES.c.id).where(DELIVERIES.c.provider_id == provider_id)
        if execute(taken).first() is not None:
            return
        # Locks in the order of a courier: the work, even if it is leased, then its delivery.
        work = self.queue.table
        mine = work.c.id == self._work_id(delivery_id)
        execute(select(work.c.id).where(mine).with_for_update())
        if execute(update(work).where(mine, work.c.lease.is_(None)).values(due=clock(session))).rowcount:
            self._changes.note(session, self.queue.name)
        unnoted = DELIVERIES.c.id == delivery_id, DELIVERIES.c.provider_id.is_(None)
        execute(update(DELIVERIES).where(*unnoted).values(provider_id=provider_id))

    def reported(
        self, session: Session, delivery_id: str, state: State, code: str | None, error: str | None
    ) -> bool:
        """Note what became of a delivery after it was accepted; return whether that is new.

        The response to its attempt may not have been noted yet. Because its work is deleted, a courier that
        is about to note it as sent finds its lease lost. The outcome of an attempt that was in doubt is now
        known: if the message failed, a repeat must not ask the provider whether it was sent.
        """
        execute, work = session.connection().execute, self.queue.table
        execute(delete(work).where(work.c.id == self._work_id(delivery_id)))
        unheard = or_(ATTEMPTS.c.finished.is_(None), ATTEMPTS.c.outcome == "unknown")
        doubtful = update(ATTEMPTS).where(ATTEMPTS.c.delivery_id == delivery_id, unheard)
        execute(doubtful.values(finished=now(), outcome="sent"))
        mine = DELIVERIES.c.id == delivery_id, DELIVERIES.c.state.in_(_UNREPORTED)
        values: dict[str, Any] = {"state": state, "code": code, "finished": now()}
        values["error"] = error and error[:ERROR_CHARACTERS_MAX]
        if state is not State.FAILED:
            values["sealed"] = None
        is_new = bool(execute(update(DELIVERIES).where(*mine).values(values)).rowcount)
        if is_new and state is State.FAILED:
            _tell_failed(session, [delivery_id])
        return is_new

    def _work_id(self, delivery_id: str) -> str:
        return f"{self.queue.name}:{delivery_id}"


def _tell_failed(session: Session, delivery_ids: Collection[str]) -> None:
    """Emit events about deliveries that have just failed."""
    if not delivery_ids:
        return
    columns = (DELIVERIES.c[name] for name in ("id", "user_id", "channel", "template", "code"))
    failed = select(*columns).where(DELIVERIES.c.id.in_(delivery_ids)).order_by(DELIVERIES.c.id)
    for delivery_id, *facts in session.connection().execute(failed).all():
        named = dict(zip(("user_id", "channel", "template", "code"), facts, strict=True))
        if named["code"] == BOUNCED:
            emit(session, DeliveryBounced(delivery_id=delivery_id, **named))
        else:
            emit(session, DeliveryFailed(delivery_id=delivery_id, **named))


def forget(session: Session, people: Sequence[str]) -> None:
    """Delete the deliveries of deleted accounts. One that is being sent right now still arrives."""
    execute, mine = session.connection().execute, DELIVERIES.c.user_id.in_(people)
    while ids := list(execute(select(DELIVERIES.c.id).where(mine).limit(FORGOTTEN_AT_ONCE)).scalars()):
        work_ids = [f"{queue}:{one}" for one in ids for queue in QUEUES.values()]
        execute(delete(WORK.work).where(WORK.work.c.id.in_(work_ids)))
        execute(delete(ATTEMPTS).where(ATTEMPTS.c.delivery_id.in_(ids)))
        execute(delete(DELIVERIES).where(DELIVERIES.c.id.in_(ids)))
