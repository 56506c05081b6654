"""Makes mails of deliveries, and hands them to a transport."""

import asyncio
import json
from collections.abc import Collection, Mapping
from typing import Any

import structlog
from prometheus_client import Counter
from sqlmodel import Session

from contracts.links import open_link
from services.notifications.breaker import Outcome
from services.notifications.courier import Job
from services.notifications.languages import Language, language_of, shown
from services.notifications.mail import texts
from services.notifications.mail.addresses import BadAddress
from services.notifications.mail.attachments import Invoices, NotFetched, WantedInvoice
from services.notifications.mail.mails import Mails
from services.notifications.mail.messages import Attachment, Message, Sender, build
from services.notifications.mail.rendering import TextFault, render
from services.notifications.mail.sendgrid import SendGrid
from services.notifications.mail.templates import TEMPLATES, Text
from services.notifications.mail.transports import (
    Away,
    FileTransport,
    InThreads,
    NotSent,
    Refused,
    SmtpTransport,
    Transport,
    Unheard,
)
from services.notifications.reasons import Reason
from services.notifications.settings import Settings
from shared.clock import now
from shared.data.database import Database
from shared.data.sealed import KeyMissing, SealBroken

SENT = Counter("mails_total", "Attempts to send a mail, by outcome", ["outcome"])

log = structlog.get_logger(__name__)


def transport_of(settings: Settings) -> Transport:
    if settings.transport == "sendgrid":
        return SendGrid(settings)
    if settings.transport == "smtp":
        smtp = SmtpTransport(settings.smtp_server, settings.mail_timeout_seconds)
        return InThreads(smtp, settings.mail_workers)
    return InThreads(FileTransport(settings.data_dir / "mail"), settings.mail_workers)


class MailCarrier:
    """Sends mails by one transport.

    If a process dies after the server has accepted a mail but before that is recorded, the mail is sent
    again when its lease expires, with the same Message-ID: a second copy is better than none.
    """

    name, sent = "mail", SENT

    def __init__(
        self,
        settings: Settings,
        database: Database,
        mails: Mails,
        transport: Transport,
        invoices: Invoices,
    ) -> None:
        self._settings, self._database, self._invoices = settings, database, invoices
        self._mails, self._transport = mails, transport
        self._sender = Sender(settings.mail_from, settings.mail_from_name, settings.mail_reply_to)

    def texts(self, session: Session, rows: Collection[Mapping[str, Any]]) -> dict[str, Text]:
        """Return the texts of mails that older versions have queued; later ones contain their text."""
        known = {(name, Language.ENGLISH) for name in {row["template"] for row in rows} & TEMPLATES.keys()}
        return {name: text for (name, _), text in texts.current(session, known).items()}

    async def send(self, job: Job) -> Outcome:
        """Fetch the attachment if there is one, then submit the mail."""
        mail_id, attached = job.row["id"], None
        if job.row["provider_id"] is not None:  # an event said that an earlier attempt was accepted
            return Outcome("sent", provider_id=job.row["provider_id"])
        if (pause := self._pause_for_events(job)) > 0:
            return Outcome("unready", "awaits_event", retry_after=pause)
        try:
            content = json.loads(self._mails.sealed.open(mail_id, job.row["sealed"] or ""))
            if (wanted := content.get("invoice")) is not None:  # missing in mails of earlier versions
                attached = await self._invoices.fetch(WantedInvoice(**wanted))
            message = await asyncio.to_thread(self._message, job, content, attached)
        except (SealBroken, KeyMissing, TextFault, BadAddress) as error:
            log.error("mail_not_made", mail_id=mail_id, error=repr(error))  # noqa: TRY400
            return Outcome("refused", "not_made", str(error))
        except NotFetched as error:
            return Outcome(error.kind, error.code)
        if attached is not None and not await self._database.read(self._mails.has, mail_id):
            return Outcome("stopped")  # its account was deleted while the invoice was fetched
        return await self._submit(message)

    def _pause_for_events(self, job: Job) -> float:
        """Return how long to wait for an event that says whether an earlier attempt was accepted."""
        if job.doubtful_since is None:
            return 0
        return self._settings.event_wait_seconds - (now() - job.doubtful_since).total_seconds()

    async def _submit(self, message: Message) -> Outcome:
        try:
            sent = await self._transport.send(message)
        except Refused as error:
            suppressed = Reason.BOUNCE if error.is_bounce else None
            return Outcome("refused", error.code, error.detail, suppressed)
        except Away as error:
            return Outcome("away", error.code, error.detail, retry_after=error.retry_after)
        except Unheard as error:
            pause = max(error.retry_after or 0, self._settings.event_wait_seconds)
            return Outcome("unknown", error.code, error.detail, retry_after=pause)
        except NotSent as error:
            return Outcome("deferred", error.code, error.detail)
        return Outcome("sent", provider_id=sent)

    async def close(self) -> None:
        await self._transport.close()

    def _message(self, job: Job, content: Mapping[str, Any], attached: Attachment | None) -> Message:
        row, values = job.row, dict[str, str](content["values"])
        language = language_of(row["language"], Language.ENGLISH)
        if content["link"] is not None:
            values["link"] = open_link(self._settings.internal_secrets, row["id"], content["link"])
        if row["expires"] is not None:
            values["expires"] = shown(row["expires"], language)
        text = Text(**content["text"]) if "text" in content else job.text
        rendered = render(text, values, language)
        return build(
            row["id"],
            row["template"],
            content["to"],
            row["created"],
            rendered,
            self._sender,
            unsubscribe=content.get("unsubscribe"),  # missing in mails of earlier versions
            attached=attached,
        )
