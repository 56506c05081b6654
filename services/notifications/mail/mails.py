"""Mails that are to be sent."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, update
from sqlmodel import Session

from services.notifications.deliveries import Deliveries, Draft, State
from services.notifications.kinds import Channel
from services.notifications.mail.addresses import BadAddress, read_address
from services.notifications.mail.attachments import WantedInvoice
from services.notifications.mail.templates import SECURITY
from services.notifications.models import ATTEMPTS, DELIVERIES, ERROR_CHARACTERS_MAX
from services.notifications.settings import Settings
from services.notifications.suppressions import Suppressions
from shared.clock import now
from shared.ids import first_id, new_id
from shared.work.changes import Changes
from shared.work.leased import clock

# A lease covers a whole mail: fetching an attachment, connecting, a login, and each command may take
# MAIL_TIMEOUT_SECONDS.
LEASE_TIMEOUTS = 13


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


class Mails(Deliveries):
    """Queues, repeats and cancels mails, within the caller's transaction."""

    def __init__(self, settings: Settings, changes: Changes, suppressions: Suppressions) -> None:
        lease = timedelta(seconds=LEASE_TIMEOUTS * settings.mail_timeout_seconds)
        super().__init__(Channel.EMAIL, settings, changes, suppressions, lease)
        self._is_off = settings.transport == "none"
        self._daily_max = settings.mail_per_address_daily

    def add(self, session: Session, mail: Mail) -> State | None:
        """Queue a mail once, whatever happens to the event that asks for it; return its state.

        It is stored but not sent to an address that is suppressed, or that gets too many mails. None means
        that it was known already, or that mails are off.
        """
        if self._is_off:
            return None
        state, code = self._admitted(session, mail)
        content = {
            "to": mail.to,
            "values": dict(mail.values),
            "link": mail.link,
            "unsubscribe": mail.unsubscribe,
            "invoice": None if mail.invoice is None else asdict(mail.invoice),
        }
        draft = Draft(mail.id, mail.user_id, mail.template, mail.to, content, mail.expires, mail.planned)
        return state if self.store(session, draft, state, code) else None

    def accepted(self, session: Session, mail_id: str, provider_id: str) -> None:
        """Note that a provider has accepted a mail; one whose response was lost then ends at once."""
        execute = session.connection().execute
        taken = select(DELIVERIES.c.id).where(DELIVERIES.c.provider_id == provider_id)
        if execute(taken).first() is not None:
            return
        # Locks in the order of a courier: the work, then its delivery.
        work = self.queue.table
        idle = work.c.id == self._work_id(mail_id), work.c.lease.is_(None)
        if execute(update(work).where(*idle).values(due=clock(session))).rowcount:
            self._changes.note(session, self.queue.name)
        mine = DELIVERIES.c.id == mail_id, DELIVERIES.c.provider_id.is_(None)
        execute(update(DELIVERIES).where(*mine).values(provider_id=provider_id))

    def bounced(self, session: Session, mail_id: str, error: str) -> None:
        """Note that a mail was accepted and came back, even if its response has not been noted yet.

        Without its work, a courier that is about to note it as sent finds its lease lost.
        """
        execute, work = session.connection().execute, self.queue.table
        execute(delete(work).where(work.c.id == self._work_id(mail_id)))
        open_attempts = ATTEMPTS.c.delivery_id == mail_id, ATTEMPTS.c.finished.is_(None)
        execute(update(ATTEMPTS).where(*open_attempts).values(finished=now(), outcome="sent"))
        states = State.QUEUED, State.SENDING, State.SENT
        mine = DELIVERIES.c.id == mail_id, DELIVERIES.c.state.in_(states)
        values = {"state": State.FAILED, "code": "bounced", "error": error[:ERROR_CHARACTERS_MAX]}
        execute(update(DELIVERIES).where(*mine).values(finished=now(), **values))

    def _admitted(self, session: Session, mail: Mail) -> tuple[State, str | None]:
        try:
            read_address(mail.to)
        except BadAddress:
            return State.FAILED, "bad_address"
        is_security = mail.template in SECURITY
        reason = self.suppressions.reason_for(session, Channel.EMAIL, mail.to, is_security=is_security)
        if reason is not None:
            return State.SUPPRESSED, reason
        if mail.is_capped and self._today(session, mail) >= self._daily_max:
            return State.SUPPRESSED, "too_many"
        return State.QUEUED, None

    def _today(self, session: Session, mail: Mail) -> int:
        """Count the mails of a template that an address was sent within a day, up to the daily limit.

        Other templates do not count: strangers can cause mails of auth, and must not exhaust the limit with
        them.
        """
        to_hash = self.suppressions.hash(Channel.EMAIL, mail.to)
        today = DELIVERIES.c.to_hash == to_hash, DELIVERIES.c.id >= first_id(now(), -timedelta(days=1))
        sent = DELIVERIES.c.template == mail.template, DELIVERIES.c.state != State.SUPPRESSED
        # Oldest first: once the limit is reached, all later rows are suppressed ones, and are not read.
        some = select(DELIVERIES.c.id).where(*today, *sent).order_by(DELIVERIES.c.id).limit(self._daily_max)
        number: int = (
            session.connection().execute(select(func.count()).select_from(some.subquery())).scalar_one()
        )
        return number
