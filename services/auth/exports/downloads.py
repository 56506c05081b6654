"""Limits on downloads of archives, which are compressed anew each time."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from datetime import timedelta

import structlog
from sqlalchemy import delete, update
from sqlmodel import Session
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from services.auth.credentials.throttle import Pace
from services.auth.errors import TooManyDownloads
from services.auth.models import DOWNLOADS
from shared.clock import now
from shared.data.database import Database, insert_into
from shared.ids import new_id

log = structlog.get_logger(__name__)

# An archive has a limited size, so this limits the bytes as well.
PER_ACCOUNT = Pace(at_once=5, interval=timedelta(hours=1))
AT_ONCE_MAX = 4  # in this process, for all accounts
RETRY_SECONDS = 30
# How long the next download waits if a replica is killed during one.
LEASE = timedelta(seconds=60)
RENEW_SECONDS = 15.0


class Downloads:
    """The downloads of this process. A leased row keeps an account to one at a time in all replicas."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._running = 0

    async def begin(self, account_id: str) -> str:
        """Take a place in this process and the account's lease, and return it, or raise TooManyDownloads."""
        if self._running >= AT_ONCE_MAX:
            raise _too_many(RETRY_SECONDS)
        self._running += 1  # before anything waits, so that no other request takes the same place
        try:
            return await self._database.run(_lease, account_id)
        except BaseException:
            self._running -= 1
            raise

    def response(
        self, lease_id: str, content: AsyncIterator[bytes], headers: Mapping[str, str]
    ) -> StreamingResponse:
        """Return the response that sends an archive and then ends the lease."""
        return _Download(self, lease_id, content, headers)

    async def keep(self, lease_id: str) -> None:
        """Renew the lease until cancelled."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self._database.run(_renew, lease_id)
            except Exception as error:  # noqa: BLE001 - the download goes on, and the lease may outlive the fault
                log.warning("download_lease_not_renewed", error=repr(error))

    async def ended(self, lease_id: str) -> None:
        """Give the place and the lease back."""
        self._running -= 1
        await self._database.run(_end, lease_id)


class _Download(StreamingResponse):
    """A response that holds the lease until it has ended, even if the client hangs up."""

    def __init__(
        self, downloads: Downloads, lease_id: str, content: AsyncIterator[bytes], headers: Mapping[str, str]
    ) -> None:
        super().__init__(content, media_type="application/zip", headers=headers)
        self._downloads, self._lease_id = downloads, lease_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        renewing = asyncio.create_task(self._downloads.keep(self._lease_id))
        try:
            await super().__call__(scope, receive, send)
        finally:
            renewing.cancel()
            with suppress(asyncio.CancelledError):
                await renewing
            await self._downloads.ended(self._lease_id)


def _lease(session: Session, account_id: str) -> str:
    """Count a download and return its lease."""
    lease_id = new_id()
    row = {"account_id": account_id, "lease_id": lease_id, "expires": now() + LEASE}
    connection, table = session.connection(), DOWNLOADS
    connection.execute(delete(table).where(table.c.account_id == account_id, table.c.expires <= now()))
    adding = insert_into(session, table).values(row).on_conflict_do_nothing().returning(table.c.lease_id)
    if connection.execute(adding).first() is None:
        raise _too_many(RETRY_SECONDS)
    wait = PER_ACCOUNT.wait(session, f"downloads of exports by {account_id}")
    if wait:
        raise _too_many(wait)
    return lease_id


def _renew(session: Session, lease_id: str) -> None:
    mine = update(DOWNLOADS).where(DOWNLOADS.c.lease_id == lease_id)
    session.connection().execute(mine.values(expires=now() + LEASE))


def _end(session: Session, lease_id: str) -> None:
    session.connection().execute(delete(DOWNLOADS).where(DOWNLOADS.c.lease_id == lease_id))


def _too_many(seconds: int) -> TooManyDownloads:
    return TooManyDownloads(headers={"Retry-After": str(seconds)})
