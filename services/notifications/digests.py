"""Mails with several notifications, for those who want fewer mails.

A notification is gathered in the transaction of its event. At the time of the digest, one transaction deletes
the gathered rows and queues the mail, so a process that dies at any moment loses and repeats nothing.

Lock order: the rows of the people's preferences by account id, then the work.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any

import structlog
from sqlalchemy import delete, event, func, insert, select
from sqlmodel import Session

from services.notifications import preferences, timing
from services.notifications.kinds import Channel, NoticeType
from services.notifications.languages import language_of
from services.notifications.mail.mails import Mail, Mails
from services.notifications.mail.templates import DIGEST
from services.notifications.models import DIGEST_ITEMS, PREFERENCES, RECIPIENTS, TITLE_CHARACTERS_MAX, WORK
from services.notifications.settings import Settings
from services.notifications.unsubscribing import Links
from services.notifications.wording import Phrase
from shared.data.database import Database, one_row
from shared.errors import Problem
from shared.events.failpoints import reached
from shared.ids import new_id
from shared.work.duties import IsStopping
from shared.work.leased import Queue, clock

QUEUE = "digest"
ITEMS_MAX = 50  # in a mail; those beyond are only in the app
CONTENT_CHARACTERS_MAX = 500
AFTER_FAULT = timedelta(minutes=5)
_LATER = "digests_later"
_NO_LIMIT = 2**31 - 2

log = structlog.get_logger(__name__)


class Digests:
    """Gathers notifications of people, and queues a mail with them when it is time."""

    def __init__(self, mails: Mails, links: Links, settings: Settings) -> None:
        self._mails, self._links, self._origin = mails, links, settings.origin
        self._language = settings.notification_language
        self.queue = Queue(WORK, QUEUE, lease=timedelta(minutes=1), attempts_max=_NO_LIMIT)

    def gather(
        self, session: Session, user_id: str, plan: timing.Timing, items: Sequence[Mapping[str, Any]]
    ) -> None:
        """Keep notifications for the person's next digest: `type, title, content, url, expires` of each.

        They are stored at the end of the transaction: it may gather for several people in several steps, and
        two transactions that lock them in different orders would wait for each other.
        """
        later = self._later(session)
        if user_id not in later:
            later[user_id] = plan, []
        if (gathered := later[user_id]) is not None:  # None: the account is deleted in this transaction
            gathered[1].extend(items)

    def forget(self, session: Session, people: Iterable[str]) -> None:
        """Delete the preferences of deleted accounts, and what was gathered; their work then ends."""
        self._later(session).update(dict.fromkeys(people))

    def _later(self, session: Session) -> dict[str, tuple[timing.Timing, list[Mapping[str, Any]]] | None]:
        """Return what to do at the end of this transaction, by account."""
        later: dict[str, Any] | None = session.info.get(_LATER)
        if later is None:
            later = session.info[_LATER] = {}
            event.listen(session, "before_commit", self._finish, once=True)
        return later

    def _finish(self, session: Session) -> None:
        for user_id, gathered in sorted(session.info.pop(_LATER).items(), key=itemgetter(0)):
            if gathered is not None:
                self._store(session, user_id, *gathered)
                continue
            _lock(session, user_id)
            for table in (PREFERENCES, DIGEST_ITEMS):  # in this order, as digests lock the preferences first
                session.connection().execute(delete(table).where(table.c.user_id == user_id))

    def _store(
        self, session: Session, user_id: str, plan: timing.Timing, items: Sequence[Mapping[str, Any]]
    ) -> None:
        if not _lock(session, user_id):
            return  # the account has just been deleted
        execute, mine = session.connection().execute, DIGEST_ITEMS.c.user_id == user_id
        some = select(DIGEST_ITEMS.c.id).where(mine).limit(ITEMS_MAX + 1).subquery()
        known: int = execute(select(func.count()).select_from(some)).scalar_one()
        rows = [
            {
                "id": new_id(),
                "user_id": user_id,
                "type": one["type"],
                "title": one["title"][:TITLE_CHARACTERS_MAX],
                "content": one["content"][:CONTENT_CHARACTERS_MAX],
                "url": one["url"],
                "expires": one["expires"],
            }
            for one in items[: ITEMS_MAX + 1 - known]  # one more shows that there were more
        ]
        if rows:
            execute(insert(DIGEST_ITEMS), rows)
        due = plan.next_digest(clock(session))
        self.queue.add_once(session, _work_id(user_id), user_id, due=due)

    def send_due(self, database: Database, is_stopping: IsStopping) -> None:
        """Queue the mails of all digests that are due, each in its own transaction.

        One that fails is tried again later, so that it does not stop the digests of others.
        """
        while not is_stopping():
            with database.transaction(write=False) as session:
                user_id = self._next(session)
            if user_id is None:
                return
            try:
                with database.transaction() as session:
                    self._send(session, user_id)
            except Problem:  # such as a database that is away: this would fail for everyone
                raise
            except Exception:
                log.exception("digest_interrupted", user_id=user_id)
                with database.transaction() as session:
                    self.queue.postpone(session, [_work_id(user_id)], AFTER_FAULT)

    def _next(self, session: Session) -> str | None:
        work = WORK.work
        due = select(work.c.body).where(work.c.queue == QUEUE, work.c.due <= clock(session))
        found: str | None = (
            session.connection().execute(due.order_by(work.c.due, work.c.id).limit(1)).scalar()
        )
        return found

    def _send(self, session: Session, user_id: str) -> None:
        execute, is_known = session.connection().execute, _lock(session, user_id)
        for leased in self.queue.claim(session, 1, among=[_work_id(user_id)]):
            at = clock(session)
            plan = preferences.timings_of(session, [user_id]).get(user_id, timing.DEFAULT)
            if (until := plan.quiet_until(at)) is not None:
                self.queue.put_off_until(session, leased, until, attempts=0)
                return
            mine = select(DIGEST_ITEMS).where(DIGEST_ITEMS.c.user_id == user_id).order_by(DIGEST_ITEMS.c.id)
            items = [dict(row) for row in execute(mine.limit(ITEMS_MAX + 1)).mappings()]
            if is_known and (mail := self._mail(session, user_id, plan, items, at)) is not None:
                self._mails.add(session, mail)
            execute(delete(DIGEST_ITEMS).where(DIGEST_ITEMS.c.user_id == user_id))
            reached("digest: sending")
            self.queue.finish(session, leased)

    def _mail(
        self,
        session: Session,
        user_id: str,
        plan: timing.Timing,
        items: Sequence[dict[str, Any]],
        at: datetime,
    ) -> Mail | None:
        """Return the mail with what the person still wants; None if nothing is left or allowed."""
        found = select(RECIPIENTS).where(RECIPIENTS.c.user_id == user_id)
        recipient = one_row(session, found)
        choices = preferences.choices_of(session, [user_id]).get(user_id, preferences.NO_CHOICES)
        wanted = [
            one
            for one in items
            if choices.wants(NoticeType(one["type"]), Channel.EMAIL)
            and (one["expires"] is None or one["expires"] > at)
        ]
        if not wanted or recipient is None or not may_be_mailed(recipient):
            return None
        language = language_of(plan.language, self._language)
        title = _title(len(wanted)).in_language(language).title
        return Mail(
            DIGEST,
            recipient["email"],
            {"title": title, "list": _as_text(wanted), "origin": self._origin},
            user_id=user_id,
            unsubscribe=self._links.url(user_id, None),
            planned=at,
            language=language,
            is_capped=True,
        )


def may_be_mailed(recipient: Mapping[str, Any]) -> bool:
    """Only confirmed addresses receive notifications: someone could register with a stranger's address."""
    has_address = recipient["email"] is not None and recipient["email_verified"]
    return has_address and recipient["status"] == "active"


def _lock(session: Session, user_id: str) -> bool:
    """Lock the person's preferences until commit; return False if there are none any more."""
    mine = select(PREFERENCES.c.user_id).where(PREFERENCES.c.user_id == user_id).with_for_update()
    return session.connection().execute(mine).first() is not None


def _work_id(user_id: str) -> str:
    return f"{QUEUE}:{user_id}"


def _title(number: int) -> Phrase:
    is_more = "yes" if number > ITEMS_MAX else ""
    return Phrase("digest", {"number": min(number, ITEMS_MAX), "is_more": is_more})


def _as_text(items: Sequence[Mapping[str, Any]]) -> str:
    """Write each notification as a paragraph, which no line break in its words can split."""
    lines = [[_one_line(one["title"]), _one_line(one["content"]), one["url"]] for one in items[:ITEMS_MAX]]
    return "\n\n".join("\n".join(line for line in each if line) for each in lines)


def _one_line(text: str) -> str:
    return " ".join(text.split())
