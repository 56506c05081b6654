"""Mails that are to be sent."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlmodel import Session

from services.notifications.deliveries import BOUNCED, Deliveries, Draft, State
from services.notifications.kinds import Channel
from services.notifications.languages import Language, Value, shown
from services.notifications.mail import texts
from services.notifications.mail.addresses import BadAddress, read_address
from services.notifications.mail.attachments import WantedInvoice
from services.notifications.mail.templates import SECURITY, Text
from services.notifications.models import DELIVERIES
from services.notifications.reasons import Reason, stops
from services.notifications.settings import Settings
from services.notifications.suppressions import Suppressions
from shared.clock import now
from shared.ids import first_id, new_id
from shared.work.changes import Changes

# A lease covers a whole mail: fetching an attachment, connecting, a login, and each command may take
# MAIL_TIMEOUT_SECONDS.
LEASE_TIMEOUTS = 13


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail to queue. `link` is sealed by its sender (contracts/links.py) and opened only to be sent."""

    template: str
    to: str
    values: Mapping[str, Value]
    id: str = field(default_factory=new_id)
    user_id: str | None = None
    link: str | None = None
    expires: datetime | None = None
    planned: datetime | None = None  # the earliest time to send; None ignores quiet hours
    invoice: WantedInvoice | None = None  # fetched from orders when it is sent, and attached
    unsubscribe: str | None = None  # the link that ends such mails
    language: Language | None = None  # None is the default of the installation
    is_capped: bool = False  # counts towards the daily limit of its address, and is not sent beyond it


class Mails(Deliveries):
    """Queues, repeats and cancels mails, within the caller's transaction."""

    def __init__(self, settings: Settings, changes: Changes, suppressions: Suppressions) -> None:
        lease = timedelta(seconds=LEASE_TIMEOUTS * settings.mail_timeout_seconds)
        super().__init__(Channel.EMAIL, settings, changes, suppressions, lease)
        self._is_off = settings.transport == "none"
        self._daily_max, self._language = settings.mail_per_address_daily, settings.notification_language

    def add(self, session: Session, mail: Mail) -> State | None:
        """Queue a mail once, whatever happens to the event that asks for it; return its state.

        It is stored but not sent to an address that is suppressed, or that gets too many mails. None means
        that it was known already, or that mails are off.
        """
        return self.add_all(session, [mail])[0]

    def add_all(self, session: Session, mails: Sequence[Mail]) -> list[State | None]:
        """Queue mails like `add`, by one statement for all. Each keeps the text that its template has now.

        For the daily limit of an address, those earlier in `mails` count like those of the day.
        """
        if self._is_off or not mails:
            return [None] * len(mails)
        known = self.suppressions.reasons_of(session, Channel.EMAIL, {mail.to for mail in mails})
        before = Counter[tuple[str, str]]()  # the mails that this adds, by template and hash of the address
        admitted = [self._admitted(session, mail, known[mail.to], before) for mail in mails]
        used = texts.current(session, {(mail.template, self._language_of(mail)) for mail in mails})
        drafts = [
            (_draft(mail, language := self._language_of(mail), used[mail.template, language]), *one)
            for mail, one in zip(mails, admitted, strict=True)
        ]
        new = self.store_all(session, drafts)
        states = list[State | None]()
        for draft, state, _ in drafts:
            states.append(state if draft.id in new else None)
            new.discard(draft.id)  # it is known from now on
        return states

    def _language_of(self, mail: Mail) -> Language:
        return mail.language or self._language

    def bounced(self, session: Session, mail_id: str, error: str) -> None:
        """Note that a mail was accepted and came back."""
        self.reported(session, mail_id, State.FAILED, BOUNCED, error)

    def _admitted(
        self,
        session: Session,
        mail: Mail,
        reasons: Collection[Reason],
        before: Counter[tuple[str, str]],
    ) -> tuple[State, str | None]:
        try:
            read_address(mail.to)
        except BadAddress:
            return State.FAILED, "bad_address"
        is_security = mail.template in SECURITY
        for reason in reasons:
            if stops(reason, is_security=is_security):
                return State.SUPPRESSED, reason
        alike = mail.template, self.suppressions.hash(Channel.EMAIL, mail.to)
        if mail.is_capped and self._today(session, *alike) + before[alike] >= self._daily_max:
            return State.SUPPRESSED, "too_many"
        before[alike] += 1
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


def _draft(mail: Mail, language: Language, text: Text) -> Draft:
    values = {name: shown(value, language) for name, value in mail.values.items()}
    content = {
        "to": mail.to,
        "values": values,
        "text": asdict(text),  # so that a later version of the service or of the text does not change it
        "link": mail.link,
        "unsubscribe": mail.unsubscribe,
        "invoice": None if mail.invoice is None else asdict(mail.invoice),
    }
    return Draft(
        mail.id,
        mail.user_id,
        mail.template,
        mail.to,
        content,
        mail.expires,
        mail.planned,
        language,
        text.version,
    )
