"""The mails that auth writes in development, as their recipients see them."""

import asyncio
import re
from collections.abc import Callable
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest
from sqlalchemy import select

from services.auth.lifecycle.requests import MailRequests
from services.auth.models import WORK
from shared.data.database import Database
from shared.work.leased import Leased

WAIT_SECONDS_MAX = 20


class Mailbox:
    """All mails written so far, oldest first."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self._folder = folder / "mail"
        self._database_url = database_url
        self._busy = 0  # requests being handled; their mails are written after the commit

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Count the requests this process handles, and let its worker poll without delay."""
        handle = MailRequests._handle

        def counted(requests: MailRequests, leased: Leased) -> None:
            self._busy += 1
            handle(requests, leased)
            self._busy -= 1

        monkeypatch.setattr(MailRequests, "_handle", counted)
        monkeypatch.setattr("services.auth.app.WORK_SECONDS", 0.01)

    def mails(self, email: str | None = None, template: str = "") -> list[EmailMessage]:
        files = sorted(self._folder.glob(f"*-{template or '*'}.eml"))
        read = [message_from_bytes(file.read_bytes(), policy=policy.default) for file in files]
        return [mail for mail in read if email in (None, mail["To"])]

    async def after_requests(self, email: str | None = None, template: str = "") -> list[EmailMessage]:
        """Wait until all queued requests are handled, and return the mails."""
        await eventually(self._is_idle)
        return self.mails(email, template)

    def link(self, email: str, template: str) -> str:
        """Return the link in the newest mail, without its origin."""
        return link_of(self.mails(email, template)[-1])

    def token(self, email: str, template: str) -> str:
        return self.link(email, template).partition("?token=")[2]

    def _is_idle(self) -> bool:
        database = Database(self._database_url, pool_size=1)
        try:
            with database.transaction(write=False) as session:
                waiting = select(WORK.work.c.id).where(WORK.work.c.given_up.is_(None))
                return session.connection().execute(waiting).first() is None and not self._busy
        finally:
            database.close()


def link_of(mail: EmailMessage) -> str:
    found = re.search(
        r"^http://127\.0\.0\.1:8000(/auth/\S+\?token=\S+)$", str(mail.get_content()), re.MULTILINE
    )
    assert found is not None, mail
    return found[1]


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not condition():  # noqa: ASYNC110 - the thread it waits for has no event
            await asyncio.sleep(0.01)
