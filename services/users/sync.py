"""Pulling the accounts that changed at auth, so that a list shows those nobody has read yet.

A pull begins a minute before the mark: a row may have been stamped before, and committed after, the pull
that set the mark. The mark is a time of auth's clock and never of ours, so that clocks which differ lose
nothing. A pull is bounded; what it leaves is the rest, with which the next one goes on.
"""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog
from sqlalchemy import select, update
from sqlmodel import Session

from services.users.accounts import Account, fetch_changed
from services.users.models import SYNC
from services.users.profiles import keep_accounts
from shared.client import Peer, PeerRefusal
from shared.database import Database
from shared.errors import Unavailable
from shared.schemas import Page

OVERLAP = timedelta(seconds=60)
ACCOUNTS_PER_PAGE = 200
PAGES_PER_PULL_MAX = 50
PULL_SECONDS_MAX = 5.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """All changes before `mark` are here; the pull under way brings it to `reach` and has `rest` to go."""

    mark: datetime
    reach: datetime | None
    rest: str | None

    @property
    def since(self) -> datetime:
        return self.mark - OVERLAP

    def reaching(self, page: Page[Account]) -> "Progress":
        known = [account.updated for account in page.items]
        return replace(self, reach=max([self.reach or self.mark, *known]))

    def with_rest(self, cursor: str | None) -> "Progress":
        if cursor is None:
            return Progress(mark=self.reach or self.mark, reach=None, rest=None)
        return replace(self, rest=cursor)


async def pull_accounts(database: Database, auth: Peer) -> None:
    """Pull what changed. When auth does not answer, say so in the log and leave things as they are."""
    try:
        async with asyncio.timeout(PULL_SECONDS_MAX):
            await _pull(database, auth)
    except (Unavailable, PeerRefusal, TimeoutError) as error:
        log.warning("accounts_not_pulled", error=repr(error))


async def _pull(database: Database, auth: Peer) -> None:
    progress = await database.read(_progress)
    left_over, cursor = progress.rest, None
    for number in range(PAGES_PER_PULL_MAX):
        page = await fetch_changed(auth, progress.since, cursor, ACCOUNTS_PER_PAGE)
        # The newest accounts always come first, even while the rest of an earlier pull is still to be done.
        cursor = left_over if number == 0 and left_over else page.next
        if left_over is None:
            progress = progress.reaching(page)
        progress = progress.with_rest(cursor)
        await database.run(_keep, page.items, progress)
        if cursor is None:
            return
    log.info("accounts_pulled_in_part", mark=progress.mark.isoformat())


def _progress(session: Session) -> Progress:
    row = session.connection().execute(select(SYNC)).one()
    return Progress(mark=row.mark, reach=row.reach, rest=row.rest)


def _keep(session: Session, accounts: list[Account], progress: Progress) -> None:
    """A page and how far it leads, together: what a crash interrupts is simply done again."""
    keep_accounts(session, accounts)
    values = {"mark": progress.mark, "reach": progress.reach, "rest": progress.rest}
    session.connection().execute(update(SYNC).values(values))
