"""Stores notifications, and changes their state."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, func, insert, or_, select, update
from sqlmodel import Session

from services.notifications.digests import Digests, may_be_mailed
from services.notifications.kinds import KINDS, Channel, NoticeType, Severity
from services.notifications.languages import Language, language_of
from services.notifications.mail.attachments import WantedInvoice
from services.notifications.mail.mails import Mail, Mails
from services.notifications.mail.templates import TICKET
from services.notifications.models import (
    CONTENT_CHARACTERS_MAX,
    NOTIFICATIONS,
    RECIPIENTS,
    TITLE_CHARACTERS_MAX,
)
from services.notifications.preferences import NO_CHOICES, Choices, choices_of, timings_of
from services.notifications.settings import Settings
from services.notifications.sms.notices import Texts
from services.notifications.timing import DEFAULT, Digest, Timing
from services.notifications.unsubscribing import Links
from services.notifications.webhooks.outbox import Outbox
from services.notifications.wording import Wording, Words
from shared.clock import now
from shared.errors import NotFound
from shared.ids import new_id
from shared.work.changes import Changes

MARKED_AT_ONCE = 5_000
UNREAD_COUNTED_MAX = 1_000
ADMINS_MAX = 100


@dataclass(frozen=True, slots=True)
class Notice:
    """A notification that is not stored yet. With `channels` it uses only these, if they are switched on."""

    user_id: str
    type: NoticeType
    wording: Wording
    severity: Severity = Severity.INFO
    data: Mapping[str, str] = field(default_factory=dict)
    invoice: WantedInvoice | None = None  # attached to its mail
    channels: frozenset[Channel] | None = None
    expires: datetime | None = None  # it is neither shown nor sent after this

    def uses(self, channel: Channel, chosen: Choices) -> bool:
        is_allowed = self.channels is None or channel in self.channels
        return is_allowed and chosen.wants(self.type, channel)


class Desk:
    """Hands notices to the channels that their recipients have switched on."""

    def __init__(
        self,
        changes: Changes,
        mails: Mails,
        outbox: Outbox,
        links: Links,
        digests: Digests,
        texts: Texts,
        settings: Settings,
    ) -> None:
        self.changes, self.mails, self.outbox = changes, mails, outbox
        self.digests, self._links, self.texts = digests, links, texts
        self._origin, self._ticket_url = settings.origin, settings.ticket_page
        self._language = settings.notification_language

    def deliver(self, session: Session, notices: Iterable[Notice]) -> list[dict[str, Any]]:
        """Store notices, queue their mails and messages, in this transaction; return the rows for the app.

        Deleted accounts receive nothing, and inactive ones receive no mails and no messages.
        Only confirmed addresses receive mails: otherwise someone who registers with a stranger's address
        could have them flooded.
        """
        notices = list(notices)
        people = {one.user_id for one in notices}
        choices, known, timings = (
            choices_of(session, people),
            _known(session, people),
            timings_of(session, people),
        )
        webhooks = self.outbox.subscribed(session, people)
        rows, gathered = list[dict[str, Any]](), dict[str, list[dict[str, Any]]]()
        mails = list[Mail]()
        for one in notices:
            recipient, chosen = known.get(one.user_id), choices.get(one.user_id, NO_CHOICES)
            if recipient is not None and recipient["deleted"] is not None:
                continue
            timing = timings.get(one.user_id, DEFAULT)
            language = self.language_of(timing)
            words = one.wording.in_language(language)
            if one.uses(Channel.IN_APP, chosen):
                rows.append(_row(one, words))
            if recipient and may_be_mailed(recipient) and _is_mailed(one, chosen):
                if timing.digest is Digest.NONE:
                    mails.append(self._mail(one, words, recipient, timing))
                else:
                    gathered.setdefault(one.user_id, []).append(self._item(one, words))
            if recipient is None or recipient["status"] == "active":  # None: it is older than this service
                shown = {**one.data, "title": words.title, "content": words.content, "severity": one.severity}
                mine = webhooks.get((one.user_id, one.type), ())
                self.outbox.add(session, mine, one.user_id, one.type, shown, expires=one.expires)
        self.mails.add_all(session, mails)
        for one in notices:
            if _is_texted(one, known.get(one.user_id), choices.get(one.user_id, NO_CHOICES)):
                timing = timings.get(one.user_id, DEFAULT)
                self.texts.add(session, one, timing, self.language_of(timing))
        self._store(session, rows)
        for user_id, some in gathered.items():
            self.digests.gather(session, user_id, timings[user_id], some)
        return rows

    def language_of(self, timing: Timing) -> Language:
        """Return the language that a person reads."""
        return language_of(timing.language, self._language)

    def _store(self, session: Session, rows: Sequence[dict[str, Any]]) -> None:
        if rows:
            session.connection().execute(insert(NOTIFICATIONS), rows)
        for user_id in {row["user_id"] for row in rows}:
            self.changes.note(session, user_id)

    def _mail(self, notice: Notice, words: Words, recipient: Mapping[str, Any], timing: Timing) -> Mail:
        values = {"title": words.title, "content": words.content, "origin": self._origin}
        url = self._url(notice)
        return Mail(
            KINDS[notice.type].template,
            recipient["email"],
            values if url is None else values | {"url": url},
            user_id=notice.user_id,
            expires=notice.expires,
            unsubscribe=self._links.url(notice.user_id, notice.type),
            planned=timing.after_quiet(now()),
            invoice=notice.invoice,
            language=self.language_of(timing),
            is_capped=Channel.EMAIL not in KINDS[notice.type].fixed,
        )

    def _item(self, notice: Notice, words: Words) -> dict[str, Any]:
        said = {"type": notice.type, "title": words.title, "content": words.content}
        return said | {"url": self._url(notice), "expires": notice.expires}

    def _url(self, notice: Notice) -> str | None:
        """Return the page of what a notification is about, if it has one."""
        if KINDS[notice.type].template == TICKET:
            return self._ticket_url(notice.data["ticket_id"])
        return None


def _is_texted(notice: Notice, recipient: Mapping[str, Any] | None, chosen: Choices) -> bool:
    is_active = recipient is not None and recipient["status"] == "active"
    return is_active and notice.uses(Channel.SMS, chosen)


def _is_mailed(notice: Notice, chosen: Choices) -> bool:
    return notice.uses(Channel.EMAIL, chosen) and not KINDS[notice.type].has_mail


def admins(session: Session) -> Sequence[str]:
    """Return the account ids of active admins, as far as this service knows them."""
    wanted = RECIPIENTS.c.role == "admin", RECIPIENTS.c.deleted.is_(None), RECIPIENTS.c.status == "active"
    found = select(RECIPIENTS.c.user_id).where(*wanted).order_by(RECIPIENTS.c.user_id).limit(ADMINS_MAX)
    return session.connection().execute(found).scalars().all()


def unread(session: Session, user_id: str) -> int:
    """Count the unread notifications of a person, but only one more than UNREAD_COUNTED_MAX."""
    some = _unread(user_id).limit(UNREAD_COUNTED_MAX + 1).subquery()
    return session.connection().execute(select(func.count()).select_from(some)).scalar_one()


def mark_read(session: Session, user_id: str, notification_id: str, changes: Changes) -> dict[str, Any]:
    """Mark a notification of this person as read, and return it. Only its first reading counts."""
    mine = NOTIFICATIONS.c.id == notification_id, NOTIFICATIONS.c.user_id == user_id
    marking = update(NOTIFICATIONS).where(*mine, NOTIFICATIONS.c.is_read.is_(False), is_current())
    if session.connection().execute(marking.values(is_read=True, read_at=now())).rowcount:
        changes.note(session, user_id)
    return find(session, user_id, notification_id)


def mark_all_read(session: Session, user_id: str, changes: Changes) -> int:
    """Mark the oldest unread notifications as read, at most MARKED_AT_ONCE; return how many."""
    oldest = _unread(user_id).order_by(NOTIFICATIONS.c.id).limit(MARKED_AT_ONCE)
    marking = update(NOTIFICATIONS).where(NOTIFICATIONS.c.id.in_(oldest))
    number: int = session.connection().execute(marking.values(is_read=True, read_at=now())).rowcount
    if number:
        changes.note(session, user_id)
    return number


def find(session: Session, user_id: str, notification_id: str) -> dict[str, Any]:
    mine = NOTIFICATIONS.c.id == notification_id, NOTIFICATIONS.c.user_id == user_id, is_current()
    row = session.connection().execute(select(NOTIFICATIONS).where(*mine)).one_or_none()
    if row is None:
        raise NotFound
    return row._asdict()


def remove(session: Session, user_id: str, notification_id: str, changes: Changes) -> None:
    mine = NOTIFICATIONS.c.id == notification_id, NOTIFICATIONS.c.user_id == user_id, is_current()
    if not session.connection().execute(delete(NOTIFICATIONS).where(*mine)).rowcount:
        raise NotFound
    changes.note(session, user_id)


def is_current() -> ColumnElement[bool]:
    """Return the condition that a notification has not expired. Those that have are deleted every minute."""
    return or_(NOTIFICATIONS.c.expires.is_(None), NOTIFICATIONS.c.expires > now())


def is_shown(row: Mapping[str, Any]) -> bool:
    """Whether the notification of a row has not expired."""
    return row["expires"] is None or row["expires"] > now()


def _unread(user_id: str) -> Any:
    mine = NOTIFICATIONS.c.user_id == user_id, NOTIFICATIONS.c.is_read.is_(False), is_current()
    return select(NOTIFICATIONS.c.id).where(*mine)


def _known(session: Session, people: Collection[str]) -> dict[str, dict[str, Any]]:
    found = select(RECIPIENTS).where(RECIPIENTS.c.user_id.in_(people))
    return {row["user_id"]: dict(row) for row in session.connection().execute(found).mappings()}


def deleted(session: Session, people: Collection[str]) -> set[str]:
    """Return those of the accounts that are known to be deleted."""
    return {one for one, row in _known(session, people).items() if row["deleted"] is not None}


def _row(notice: Notice, words: Words) -> dict[str, Any]:
    return {
        "id": new_id(),
        "user_id": notice.user_id,
        "type": notice.type,
        "title": words.title[:TITLE_CHARACTERS_MAX],
        "content": words.content[:CONTENT_CHARACTERS_MAX],
        "severity": notice.severity,
        "data": json.dumps(notice.data),
        "is_read": False,
        "read_at": None,
        "created": now(),
        "expires": notice.expires,
    }
