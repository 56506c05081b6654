"""Text messages of notifications, for those who have chosen them and confirmed their phone."""

from datetime import datetime
from typing import Protocol

from sqlmodel import Session

from services.notifications.kinds import KINDS, Channel, NoticeType
from services.notifications.languages import Language
from services.notifications.sms.messages import NOTICE, Sms, TextMessages
from services.notifications.sms.phones import Phones
from services.notifications.timing import Timing
from services.notifications.wording import Wording
from shared.clock import now


class Told(Protocol):
    """A notification."""

    @property
    def user_id(self) -> str: ...

    @property
    def type(self) -> NoticeType: ...

    @property
    def wording(self) -> Wording: ...

    @property
    def expires(self) -> datetime | None: ...


class Texts:
    """Queues the text messages of notifications, within the caller's transaction."""

    def __init__(self, messages: TextMessages, phones: Phones) -> None:
        self._messages, self._phones = messages, phones

    def add(self, session: Session, notice: Told, timing: Timing, language: Language) -> None:
        """Queue a message, after quiet hours unless it is about security; digests do not gather messages."""
        number = self._phones.confirmed(session, [notice.user_id]).get(notice.user_id)
        if self._messages.is_off or number is None:
            return
        is_urgent = Channel.EMAIL in KINDS[notice.type].fixed
        words = notice.wording.in_language(language)
        text = f"{words.title}: {words.content}"
        planned = None if is_urgent else timing.after_quiet(now())
        sms = Sms(NOTICE, number, text, notice.user_id, language, planned=planned, expires=notice.expires)
        self._messages.add(session, sms)
