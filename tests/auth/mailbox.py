"""The mails that auth asks for, as the notifications service receives them."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest
from sqlalchemy import select

from contracts.events import MailRequested
from contracts.links import open_link
from services.auth.lifecycle.requests import MailRequests
from services.auth.models import EVENTS, WORK
from shared.data.database import Database
from shared.testing import TEST_INTERNAL_SECRET
from shared.work.leased import Leased
from tests.told import events

WAIT_SECONDS_MAX = 20
ORIGIN = "http://127.0.0.1:8000"


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail with its link in plain text, without its origin."""

    template: str
    to: str
    values: Mapping[str, str]
    link: str | None

    @classmethod
    def of(cls, event: MailRequested) -> "Mail":
        link = event.link and open_link([TEST_INTERNAL_SECRET], event.mail_id, event.link)
        return cls(event.template, event.email, event.values, link and link.removeprefix(ORIGIN))


class Mailbox:
    """All mails so far, oldest first. They stay in the outbox, because nothing receives them."""

    def __init__(self, database_url: str) -> None:
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

    def mails(self, email: str | None = None, template: str = "") -> list[Mail]:
        told = (one for one in events(self._database_url, EVENTS) if one.topic == MailRequested.topic)
        found = [Mail.of(MailRequested.model_validate(one.data)) for one in told]
        return [one for one in found if email in (None, one.to) and template in ("", one.template)]

    async def after_requests(self, email: str | None = None, template: str = "") -> list[Mail]:
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


def link_of(mail: Mail) -> str:
    assert mail.link is not None, mail
    assert mail.link.startswith("/auth/"), "the link has another origin"
    return mail.link


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not condition():  # noqa: ASYNC110 - the thread it waits for has no event
            await asyncio.sleep(0.01)
