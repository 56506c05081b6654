"""Mails that are to be sent: queued in the transaction of what causes them, and sealed."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlmodel import Session

from services.notifications.errors import Suppressed
from services.notifications.kinds import Channel
from services.notifications.mail.addresses import BadAddress, read_address
from services.notifications.mail.attachments import WantedInvoice
from services.notifications.mail.templates import SECURITY
from services.notifications.models import ATTEMPTS, DELIVERIES, WORK
from services.notifications.settings import Settings
from services.notifications.suppressions import Reason, Suppressions, stops
from shared.clock import now
from shared.data.database import insert_into
from shared.data.sealed import SealedColumn
from shared.ids import first_id, new_id
from shared.work.changes import Changes
from shared.work.leased import Queue

QUEUE = "mail"
# A lease covers a whole mail: fetching an attachment, connecting, a login, and each command may take
# MAIL_TIMEOUT_SECONDS.
LEASE_TIMEOUTS = 13
ATTEMPTS_MAX = 8
FORGOTTEN_AT_ONCE = 1_000
_NO_LIMIT = 2**31 - 2


class State(StrEnum):
    """The state of a delivery."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    SUPPRESSED = "suppressed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


ENDED = (State.SENT, State.FAILED, State.SUPPRESSED, State.CANCELLED, State.EXPIRED)


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail to queue. `link` is sealed by its sender (contracts/links.py) and opened only to be sent."""

    template: str
    to: str
    values: Mapping[str, str]
    id: str = field(default_factory=new_id)
    user_id: str | None = None
    link: str | None = None
    expires: datetime | None = None
    planned: datetime | None = None  # the earliest time to send; None ignores quiet hours
    invoice: WantedInvoice | None = None  # fetched from orders when it is sent, and attached
    unsubscribe: str | None = None  # the link that ends such mails
    is_capped: bool = False  # counts towards the daily limit of its address, and is not sent beyond it


class Mails:
    """Queues, repeats and cancels mails, within the caller's transaction."""

    def __init__(self, settings: Settings, changes: Changes, suppressions: Suppressions) -> None:
        self._is_off = settings.transport == "none"
        self.suppressions = suppressions
        self._daily_max = settings.mail_per_address_daily
        self._changes = changes
        self.sealed = SealedColumn(settings.sealer(), DELIVERIES.c.sealed)
        lease = timedelta(seconds=LEASE_TIMEOUTS * settings.mail_timeout_seconds)
        self.queue = Queue(WORK, QUEUE, lease=lease, attempts_max=_NO_LIMIT)

    def add(self, session: Session, mail: Mail) -> State | None:
        """Queue a mail once, whatever happens to the event that asks for it; return its state.

        It is stored but not sent to an address that does not exist, or that gets too many mails. None means
        that it was known already, or that mails are off.
        """
        if self._is_off:
            return None
        to_hash = self.suppressions.hash(Channel.EMAIL, mail.to)
        state, code = self._admitted(session, mail, to_hash)
        content = {
            "to": mail.to,
            "values": dict(mail.values),
            "link": mail.link,
            "unsubscribe": mail.unsubscribe,
            "invoice": None if mail.invoice is None else asdict(mail.invoice),
        }
        is_queued = state is State.QUEUED
        row = {
            "id": mail.id,
            "user_id": mail.user_id,
            "channel": Channel.EMAIL,
            "template": mail.template,
            "to_hash": to_hash,
            "sealed": self.sealed.seal(mail.id, json.dumps(content)) if is_queued else None,
            "state": state,
            "attempts": 0,
            "code": code,
            "expires": mail.expires,
            "planned": mail.planned,
            "created": now(),
            "finished": None if is_queued else now(),
        }
        adding = insert_into(session, DELIVERIES).values(row).on_conflict_do_nothing()
        if session.connection().execute(adding.returning(DELIVERIES.c.id)).first() is None:
            return None
        if is_queued:
            wait = timedelta(0) if mail.planned is None else max(mail.planned - now(), timedelta(0))
            self.queue.add(session, mail.id, work_id=_work_id(mail.id), after=wait)
            self._changes.note(session, QUEUE)
        return state

    def has(self, session: Session, mail_id: str) -> bool:
        found = select(DELIVERIES.c.id).where(DELIVERIES.c.id == mail_id)
        return session.connection().execute(found).first() is not None

    def _admitted(self, session: Session, mail: Mail, to_hash: str) -> tuple[State, str | None]:
        try:
            read_address(mail.to)
        except BadAddress:
            return State.FAILED, "bad_address"
        is_security = mail.template in SECURITY
        reason = self.suppressions.reason_for(session, Channel.EMAIL, mail.to, is_security=is_security)
        if reason is not None:
            return State.SUPPRESSED, reason
        if mail.is_capped and self._today(session, mail.template, to_hash) >= self._daily_max:
            return State.SUPPRESSED, "too_many"
        return State.QUEUED, None

    def _today(self, session: Session, template: str, to_hash: str) -> int:
        """Count the mails of a template that an address was sent within a day, up to the daily limit.

        Other templates do not count: strangers can cause mails of auth, and must not exhaust the limit with
        them.
        """
        today = DELIVERIES.c.to_hash == to_hash, DELIVERIES.c.id >= first_id(now(), -timedelta(days=1))
        sent = DELIVERIES.c.template == template, DELIVERIES.c.state != State.SUPPRESSED
        # Oldest first: once the limit is reached, all later rows are suppressed ones, and are not read.
        some = select(DELIVERIES.c.id).where(*today, *sent).order_by(DELIVERIES.c.id).limit(self._daily_max)
        number: int = (
            session.connection().execute(select(func.count()).select_from(some.subquery())).scalar_one()
        )
        return number

    def repeat(self, session: Session, mail_id: str) -> bool:
        """Queue a failed mail again; return False if it has not failed, or its content was deleted.

        Raise Suppressed if it would not be sent.
        """
        failed = DELIVERIES.c.id == mail_id, DELIVERIES.c.state == State.FAILED
        columns = DELIVERIES.c.id, DELIVERIES.c.to_hash, DELIVERIES.c.template
        for row in session.connection().execute(select(*columns).where(*failed)).mappings():
            if (reason := self.silenced(session, [dict(row)]).get(mail_id)) is not None:
                raise Suppressed(reason=reason)
        anew = update(DELIVERIES).where(*failed, DELIVERIES.c.sealed.is_not(None))
        values = {"state": State.QUEUED, "code": None, "error": None, "finished": None}
        if not session.connection().execute(anew.values(values)).rowcount:
            return False
        self.queue.add(session, mail_id, work_id=_work_id(mail_id))
        self._changes.note(session, QUEUE)
        return True

    def cancel(self, session: Session, mail_id: str) -> bool:
        """Cancel a waiting mail; return False if it is being sent or has ended."""
        if not self.queue.withdraw(session, _work_id(mail_id)):
            return False
        self.end(session, mail_id, State.CANCELLED)
        return True

    def end(
        self, session: Session, mail_id: str, state: State, code: str | None = None, error: str | None = None
    ) -> None:
        """Record the outcome of a mail. Its content is deleted, unless it failed and may be repeated."""
        values: dict[str, Any] = {"state": state, "code": code, "error": error, "finished": now()}
        if state is not State.FAILED:
            values["sealed"] = None
        session.connection().execute(update(DELIVERIES).where(DELIVERIES.c.id == mail_id).values(values))

    def silenced(self, session: Session, rows: Collection[Mapping[str, Any]]) -> dict[str, Reason]:
        """Return the mails that may not be sent any more, with the reason."""
        reasons: dict[str, list[Reason]] = {}
        for to_hash, reason in self.suppressions.reasons(session, {row["to_hash"] for row in rows}):
            reasons.setdefault(to_hash, []).append(reason)
        return {
            row["id"]: reason
            for row in rows
            for reason in reasons.get(row["to_hash"], ())
            if stops(reason, is_security=row["template"] in SECURITY)
        }

    def forget(self, session: Session, people: Sequence[str]) -> None:
        """Delete the mails of deleted accounts. One that is being sent right now still arrives."""
        execute, mine = session.connection().execute, DELIVERIES.c.user_id.in_(people)
        while ids := list(execute(select(DELIVERIES.c.id).where(mine).limit(FORGOTTEN_AT_ONCE)).scalars()):
            execute(delete(WORK.work).where(WORK.work.c.id.in_([_work_id(one) for one in ids])))
            execute(delete(ATTEMPTS).where(ATTEMPTS.c.delivery_id.in_(ids)))
            execute(delete(DELIVERIES).where(DELIVERIES.c.id.in_(ids)))


def _work_id(mail_id: str) -> str:
    return f"{QUEUE}:{mail_id}"
