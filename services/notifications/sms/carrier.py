"""Hands text messages to a transport, but none that was sent already."""

import asyncio
import json
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import Counter
from sqlalchemy import select
from sqlmodel import Session

from services.notifications.breaker import Outcome
from services.notifications.courier import Job
from services.notifications.models import DELIVERIES
from services.notifications.private_files import PrivateFolder
from services.notifications.settings import Settings
from services.notifications.sms.messages import TEMPLATES, TextMessages
from services.notifications.sms.twilio import TextTransport, Twilio
from shared.data.database import Database
from shared.data.sealed import KeyMissing, SealBroken

SENT = Counter("sms_total", "Attempts to send a text message, by outcome", ["outcome"])

log = structlog.get_logger(__name__)


def text_transport_of(settings: Settings) -> TextTransport:
    return Twilio(settings) if settings.text_transport == "twilio" else TextFiles(settings.data_dir / "sms")


class SmsCarrier:
    """Sends text messages by one transport.

    An attempt may have succeeded even if its response was lost or its process died. Then the provider is
    asked for the messages to this number, and the text is sent only if it is not among them.
    """

    name, sent = "sms", SENT

    def __init__(self, database: Database, messages: TextMessages, transport: TextTransport) -> None:
        self._database, self._messages, self._transport = database, messages, transport

    def texts(self, _session: Session, _rows: Collection[Mapping[str, Any]]) -> dict[str, None]:
        return dict.fromkeys(TEMPLATES)

    async def send(self, job: Job) -> Outcome:
        row = job.row
        if row["provider_id"] is not None:  # a report said that an earlier attempt was accepted
            return Outcome("sent", provider_id=row["provider_id"])
        try:
            content = json.loads(self._messages.sealed.open(row["id"], row["sealed"] or ""))
        except (SealBroken, KeyMissing) as error:
            log.error("sms_not_made", sms_id=row["id"], error=repr(error))  # noqa: TRY400
            return Outcome("refused", "not_made", str(error))
        if job.doubtful_since is not None:
            found = await self._transport.find(content["to"], content["text"], job.doubtful_since)
            if isinstance(found, Outcome):
                return found
            free = await self._database.read(_not_taken, found)
            if free:
                return Outcome("sent", provider_id=free[-1])  # the oldest
        return await self._transport.send(row["id"], content["to"], content["text"])

    async def close(self) -> None:
        await self._transport.close()


def _not_taken(session: Session, provider_ids: list[str]) -> list[str]:
    """Return those that belong to no delivery, in their order."""
    known = select(DELIVERIES.c.provider_id).where(DELIVERIES.c.provider_id.in_(provider_ids))
    taken = {*session.connection().execute(known).scalars()}
    return [one for one in provider_ids if one not in taken]


class TextFiles:
    """Writes text messages to a folder, readable by its owner alone, and keeps the newest ones."""

    def __init__(self, folder: Path) -> None:
        self._folder = PrivateFolder(folder, ".txt")

    async def send(self, delivery_id: str, to: str, text: str) -> Outcome:
        try:
            await asyncio.to_thread(self._folder.add, delivery_id, f"{to}\n{text}\n".encode())
        except OSError as error:
            return Outcome("away", "not_written", str(error))
        return Outcome("sent", provider_id=delivery_id)

    async def find(self, _to: str, _text: str, _since: datetime) -> list[str] | Outcome:
        return []

    async def close(self) -> None:
        pass
