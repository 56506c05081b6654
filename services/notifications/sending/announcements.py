"""Sends a message to all admins or to everybody, in pages of one short transaction each.

A page stores its notifications, queues their mails, and moves the cursor, all or nothing. So a process that
is killed at any moment loses and repeats nothing, and no transaction grows with the number of accounts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import select, update
from sqlmodel import Session

from services.notifications.kinds import Channel, NoticeType, Severity
from services.notifications.models import JOBS, RECIPIENTS
from services.notifications.notices import Desk, Notice
from services.notifications.sending import keys
from services.notifications.sending.schemas import Audience
from services.notifications.wording import Words
from shared.clock import now
from shared.data.database import Database
from shared.events.failpoints import reached
from shared.work.jobs import Kind, Running

KIND = "announcement"
PAGE_PEOPLE = 100
# A kill counts as an attempt, and a large announcement may outlive several.
ATTEMPTS_MAX = 100


@dataclass(frozen=True, slots=True)
class People:
    """A page of accounts: the last one that was read, and those who get the message."""

    last: str | None
    active: Sequence[str]


class Announcements:
    """The jobs that send messages to many accounts."""

    def __init__(self, database: Database, desk: Desk) -> None:
        self._database, self._desk = database, desk

    @property
    def kinds(self) -> dict[str, Kind]:
        return {KIND: Kind(self.tell, attempts_max=ATTEMPTS_MAX)}

    async def tell(self, job: Running) -> dict[str, Any]:
        """Tell the accounts of the audience, one page after another, until none is left or it expires."""
        given, audience = job.input, Audience(job.input["audience"])
        expires = _time(given["expires"])
        cursor = job.cursor or {"after": "", "seen": 0}
        while expires is None or expires > now():
            people = await self._database.read(page_of, audience, cursor["after"])
            if people.last is None:
                return {"has_expired": False}
            cursor = {"after": people.last, "seen": cursor["seen"] + len(people.active)}
            await job.do(partial(self._tell_page, job.id, given, people.active), cursor=cursor)
        return {"has_expired": True}

    def _tell_page(
        self, job_id: str, given: Mapping[str, Any], people: Sequence[str], session: Session
    ) -> None:
        new = keys.use(session, people, given["dedupe_key"])
        self._desk.deliver(session, [notice_of(given, one) for one in people if one in new])
        told = update(JOBS).where(JOBS.c.id == job_id).values(progress=JOBS.c.progress + len(new))
        session.connection().execute(told)
        reached("announcement: telling")


def page_of(session: Session, audience: Audience, after: str) -> People:
    """Return the next accounts in the order of their ids; a page reads as many rows, whoever is inactive."""
    table = RECIPIENTS.c
    some = select(table.user_id, table.status, table.deleted).where(table.user_id > after)
    if audience is Audience.ADMINS:
        some = some.where(table.role == "admin")
    rows = session.connection().execute(some.order_by(table.user_id).limit(PAGE_PEOPLE)).all()
    active = [row.user_id for row in rows if row.status == "active" and row.deleted is None]
    return People(rows[-1].user_id if rows else None, active)


def notice_of(given: Mapping[str, Any], user_id: str) -> Notice:
    """Return the message to one account, from the fields of the request as JSON."""
    return Notice(
        user_id,
        NoticeType(given["type"]),
        Words(given["title"], given["content"]),
        Severity(given["severity"]),
        given["data"],
        channels=None if given["channels"] is None else frozenset(map(Channel, given["channels"])),
        expires=_time(given["expires"]),
    )


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
