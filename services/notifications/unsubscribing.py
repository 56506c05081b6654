"""Links that end the mails of one type, with one click and without a sign-in (RFC 8058)."""

import hmac
from base64 import urlsafe_b64encode

from sqlalchemy import select
from sqlmodel import Session

from services.notifications import preferences
from services.notifications.kinds import KINDS, Channel, NoticeType
from services.notifications.mail.templates import DIGEST
from services.notifications.models import RECIPIENTS
from services.notifications.settings import Settings
from shared.hashing import derived_key

PATH = "/notifications/unsubscribe"
_MAC_BYTES = 16


class Links:
    """Makes and reads links. They do not expire, because mails may be read late. They can do nothing else."""

    def __init__(self, settings: Settings) -> None:
        previous = settings.key_secret_previous
        secrets = [settings.key_secret, *([previous] if previous else [])]
        self._keys = [derived_key(one.get_secret_value(), "unsubscribe links") for one in secrets]
        self._origin = settings.origin

    def url(self, user_id: str, kind: NoticeType | None) -> str | None:
        """Return the link; without a kind, that of digests.

        None means that these mails cannot be switched off, or that links have no origin.
        """
        if not self._origin or (kind is not None and Channel.EMAIL in KINDS[kind].fixed):
            return None
        subject = f"{user_id}.{kind or DIGEST}"
        return f"{self._origin}{PATH}?token={subject}.{_mac(self._keys[0], subject)}"

    def read(self, token: str) -> tuple[str, NoticeType | None] | None:
        """Return the account and the type of the mails that a token ends; None if it is not ours.

        A digest has no type: its token ends all mails that it could contain.
        """
        subject, _, given = token.rpartition(".")
        found = [hmac.compare_digest(_mac(key, subject).encode(), given.encode()) for key in self._keys]
        user_id, _, kind = subject.partition(".")
        if not any(found) or kind not in {DIGEST, *NoticeType}:
            return None
        return user_id, None if kind == DIGEST else NoticeType(kind)


def unsubscribe(session: Session, user_id: str, kind: NoticeType | None) -> None:
    """Switch off these mails, unless the account is gone; without a kind, all that digests could contain."""
    alive = RECIPIENTS.c.user_id == user_id, RECIPIENTS.c.deleted.is_(None)
    if session.connection().execute(select(RECIPIENTS.c.user_id).where(*alive)).first() is not None:
        optional = [one for one in KINDS if Channel.EMAIL not in KINDS[one].fixed]
        ended = optional if kind is None else [kind]
        preferences.choose(session, user_id, [(one, Channel.EMAIL, False) for one in ended])


def _mac(key: bytes, subject: str) -> str:
    digest = hmac.digest(key, subject.encode(), "sha256")[:_MAC_BYTES]
    return urlsafe_b64encode(digest).decode().rstrip("=")
