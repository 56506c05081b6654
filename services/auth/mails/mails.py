"""Mails to people: an event for the service that sends them and, in development, a file."""

import os
from collections.abc import Mapping
from email.message import EmailMessage
from pathlib import Path
from tempfile import mkstemp
from typing import Any

import structlog
from sqlalchemy import event
from sqlmodel import Session

from contracts.events import SUBSCRIBERS, MailRequested
from contracts.links import seal_link
from services.auth.mails.links import Link
from services.auth.mails.texts import TEXTS, Template
from services.auth.settings import Settings
from shared.clock import now
from shared.events import emit
from shared.ids import new_id

FILES_MAX = 1_000  # unauthenticated requests cause mails, and must not fill the disk
SENDER = "Gatehouse <no-reply@gatehouse.invalid>"
_PENDING = "mails"

log = structlog.get_logger(__name__)


class Mails:
    """Sends mails within a transaction: none is sent if it does not commit."""

    def __init__(self, settings: Settings) -> None:
        self.origin = settings.link_origin
        self._secrets = settings.internal_secrets
        self._folder = settings.data_dir / "mail" if settings.writes_mails else None

    def send(
        self,
        session: Session,
        template: Template,
        email: str | None,
        *,
        account_id: str | None = None,
        link: Link | None = None,
        **values: str,
    ) -> None:
        """Send one mail; do nothing without an address."""
        if email is None or not self.origin:
            return
        mail_id = new_id()
        values |= {"email": email, "origin": self.origin}
        emit(
            session,
            MailRequested(
                mail_id=mail_id,
                template=template,
                email=email,
                account_id=account_id,
                link=None if link is None else seal_link(self._secrets, mail_id, link.url),
                expires=None if link is None else link.expires,
                values=values,
                created=now(),
            ),
        )
        if self._folder is not None:
            shown = {
                **values,
                "link": link and link.url,
                "expires": link and f"{link.expires:%Y-%m-%d %H:%M} UTC",
            }
            self._write_after_commit(session, f"{mail_id}-{template}.eml", _message(template, mail_id, shown))

    def _write_after_commit(self, session: Session, name: str, message: bytes) -> None:
        if _PENDING not in session.info:
            session.info[_PENDING] = {}
            event.listen(session, "after_commit", self._write)
        session.info[_PENDING][name] = message

    def _write(self, session: Session) -> None:
        assert self._folder is not None
        pending: dict[str, bytes] = session.info.pop(_PENDING, {})
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name, message in pending.items():
                _write_file(self._folder / name, message)
            for old in sorted(self._folder.glob("*.eml"))[:-FILES_MAX]:
                old.unlink(missing_ok=True)
        except OSError as error:  # the change is committed, even if its mail cannot be written
            log.error("mail_not_written", error=repr(error))  # noqa: TRY400 - no traceback needed


def warn_without_receiver(settings: Settings) -> None:
    """Log a warning at startup in production if mails cannot be delivered."""
    if settings.environment != "production":
        return
    if not settings.link_origin:
        log.warning(
            "mails_are_off",
            reason="OAUTH_ISSUER and PUBLIC_URL are not set, so links in mails would have no origin",
            effect="people cannot confirm an e-mail address or reset a forgotten password",
        )
    elif not has_receiver() and not settings.writes_mails:
        log.warning(
            "mails_are_not_sent",
            reason=f"no service consumes the event {MailRequested.topic}, and MAIL_FILES is off",
            effect="people cannot confirm an e-mail address or reset a forgotten password",
        )


def has_receiver() -> bool:
    return any(MailRequested.topic in subscriber.topics for subscriber in SUBSCRIBERS.values())


def _message(template: Template, mail_id: str, values: Mapping[str, Any]) -> bytes:
    subject, _, text = TEXTS[template].partition("\n")
    message = EmailMessage()
    message["From"], message["To"] = SENDER, values["email"]
    message["Subject"] = subject.format(**values)
    message["Date"] = now()
    message["Message-ID"] = f"<{mail_id}@gatehouse.invalid>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text.format(**values), cte="8bit")
    return message.as_bytes()


def _write_file(file: Path, content: bytes) -> None:
    """Write a file atomically, readable by its owner alone."""
    descriptor, draft = mkstemp(dir=file.parent)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(content)
    Path(draft).rename(file)
