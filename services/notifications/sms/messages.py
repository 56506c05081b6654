"""Text messages that are to be sent."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, select
from sqlmodel import Session

from services.notifications.deliveries import Deliveries, Draft, State
from services.notifications.kinds import Channel
from services.notifications.languages import Language
from services.notifications.models import DELIVERIES
from services.notifications.settings import Settings
from services.notifications.sms.texts import shortened
from services.notifications.suppressions import Suppressions
from shared.clock import now
from shared.ids import first_id, new_id
from shared.work.changes import Changes

NOTICE, CODE, TEST = "notice_sms", "phone_code", "test_sms"
TOO_MANY = "too_many"
TEMPLATES = frozenset((NOTICE, CODE, TEST))
# A lease covers the search for an earlier message, and the sending: each takes up to SMS_TIMEOUT_SECONDS. A
# message may first wait for another one, because twice as many are claimed as are sent at once.
LEASE_TIMEOUTS = 6
KEPT_FOR = timedelta(days=1)  # an older one only confuses
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Sms:
    """A text message to queue, to a number such as +4930123456."""

    template: str
    to: str
    text: str
    user_id: str | None
    language: Language = Language.ENGLISH
    id: str = field(default_factory=new_id)
    expires: datetime | None = None
    planned: datetime | None = None  # the earliest time, if it respects quiet hours


class TextMessages(Deliveries):
    """Queues, repeats and cancels text messages, within the caller's transaction."""

    def __init__(self, settings: Settings, changes: Changes, suppressions: Suppressions) -> None:
        lease = timedelta(seconds=LEASE_TIMEOUTS * settings.sms_timeout_seconds)
        super().__init__(Channel.SMS, settings, changes, suppressions, lease)
        self._settings = settings
        self.is_off = settings.text_transport == "none"

    def add(self, session: Session, sms: Sms) -> tuple[State, str | None]:
        """Queue a message; it is only stored if its number is suppressed or a daily limit is reached.

        Return its state, and the code that says why it is not sent.
        """
        state, code = self._admitted(session, sms)
        latest = (sms.planned or now()) + KEPT_FOR
        expires = latest if sms.expires is None else min(sms.expires, latest)
        content = {"to": sms.to, "text": shortened(sms.text)}
        draft = Draft(sms.id, sms.user_id, sms.template, sms.to, content, expires, sms.planned, sms.language)
        self.store(session, draft, state, code)
        return state, code

    def cancel_waiting(self, session: Session, user_id: str) -> None:
        """Cancel the notifications and codes of an account that have not been sent yet."""
        mine = DELIVERIES.c.user_id == user_id, DELIVERIES.c.state == State.QUEUED
        wanted = select(DELIVERIES.c.id).where(*mine, DELIVERIES.c.template.in_((NOTICE, CODE)))
        for delivery_id in session.connection().execute(wanted.order_by(DELIVERIES.c.id)).scalars().all():
            self.cancel(session, delivery_id)

    def may_call(self, number: str) -> bool:
        """Whether messages may be sent to the country of this number."""
        return not self._settings.sms_prefixes or number.startswith(self._settings.sms_prefixes)

    def _admitted(self, session: Session, sms: Sms) -> tuple[State, str | None]:
        if not self.may_call(sms.to):
            return State.SUPPRESSED, "country"
        reason = self.suppressions.reason_for(session, Channel.SMS, sms.to, is_security=False)
        if reason is not None:
            return State.SUPPRESSED, reason
        to_it = DELIVERIES.c.to_hash == self.suppressions.hash(Channel.SMS, sms.to)
        settings, all_of_them = self._settings, DELIVERIES.c.channel == Channel.SMS
        most = (settings.sms_daily_max + 1) // 2 if sms.template == CODE else settings.sms_daily_max
        if self._today(session, sms.template, to_it, settings.sms_per_number_daily):
            return State.SUPPRESSED, TOO_MANY
        if self._today(session, sms.template, all_of_them, most):
            return State.SUPPRESSED, TOO_MANY
        return State.QUEUED, None

    def _today(self, session: Session, template: str, which: ColumnElement[bool], most: int) -> bool:
        """Whether this many messages of a template were sent within a day. Fraudsters call costly numbers.

        Other templates do not count: strangers can cause codes, and must not exhaust the limit of
        notifications with them.
        """
        today = which, DELIVERIES.c.id >= first_id(now(), -_DAY)
        sent = DELIVERIES.c.template == template, DELIVERIES.c.state != State.SUPPRESSED
        # Oldest first: once the limit is reached, all later rows are suppressed ones, and are not read.
        some = select(DELIVERIES.c.id).where(*today, *sent).order_by(DELIVERIES.c.id).limit(most)
        number = select(func.count()).select_from(some.subquery())
        return bool(session.connection().execute(number).scalar_one() >= most)

    def recent(self, session: Session, user_id: str, template: str, since: timedelta, most: int) -> int:
        """Count the messages of a template that an account caused within a time, up to `most`."""
        mine = DELIVERIES.c.user_id == user_id, DELIVERIES.c.id >= first_id(now(), -since)
        some = select(DELIVERIES.c.id).where(*mine, DELIVERIES.c.template == template).limit(most)
        number: int = (
            session.connection().execute(select(func.count()).select_from(some.subquery())).scalar_one()
        )
        return number
