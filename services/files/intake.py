"""How bytes become a file: room first, then the bytes, then the blob, then the row.

At every point between two steps the process may die. What is then left behind has a row that says so, and
the sweeper removes it: a file is there whole, or it is not there.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlmodel import Session

from services.files import media_types, quota
from services.files.blobs import Blobs, Inflow
from services.files.errors import UploadAbandoned
from services.files.models import File, Visibility
from services.files.names import folded
from services.files.quota import Quota
from services.files.settings import Settings
from services.files.staging import Landed
from shared.clock import now
from shared.database import Database
from shared.errors import Problem

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Described:
    """What the owner says about a file."""

    name: str
    declared_type: str | None = None
    visibility: Visibility = Visibility.PRIVATE
    details: str = "{}"


class Intake:
    """Takes files in."""

    def __init__(self, database: Database, blobs: Blobs, settings: Settings) -> None:
        self.blobs = blobs
        self.quota = Quota.of(settings)
        self._database = database
        self._lease = timedelta(seconds=settings.lease_seconds)

    @asynccontextmanager
    async def room(self, user_id: str, size: int) -> AsyncIterator[tuple[str, Inflow]]:
        """Room for so many bytes, and where to put them; both are taken back when the block fails."""
        key = await self._database.run(quota.reserve, user_id, size, self.quota, now() + self._lease)
        keeping = asyncio.create_task(self._keep(key))
        inflow = None
        try:
            inflow = Inflow(self.blobs, await self.blobs.start(self.blobs.staging.create, key))
            yield key, inflow
        except BaseException:
            await asyncio.shield(self._take_back(key, inflow))
            raise
        finally:
            keeping.cancel()

    async def keep(self, key: str, sha256: str) -> None:
        """Make a staged file a blob."""
        try:
            await self.blobs.start(self.blobs.store.put, key, self.blobs.staging.path(key), sha256)
        except FileNotFoundError as error:  # this process slept so long that the sweeper took it away
            raise UploadAbandoned from error

    async def _keep(self, key: str) -> None:
        """While bytes arrive, however slowly, nobody may think that they were given up."""
        while True:
            await asyncio.sleep(self._lease.total_seconds() / 3)
            with suppress(Problem):  # the database is away; there is time for another attempt
                await self._database.run(quota.extend, key, now() + self._lease)

    async def _take_back(self, key: str, inflow: Inflow | None) -> None:
        if inflow is not None:
            with suppress(OSError):
                await inflow.discard()
        try:
            await self._database.run(quota.release, key)
        except Problem:
            log.warning("room_not_given_back_yet", key=key)  # the sweeper will


def add_file(session: Session, user_id: str, key: str, described: Described, found: Landed) -> File:
    """Write down a file whose blob is in its place."""
    quota.settle(session, key, found.size)
    file = File(
        user_id=user_id,
        name=described.name,
        folded_name=folded(described.name),
        mime_type=media_types.of(found.head, described.name, described.declared_type),
        size=found.size,
        sha256=found.sha256,
        visibility=described.visibility,
        details=described.details,
        blob_key=key,
    )
    session.add(file)
    session.flush()
    return file
