"""How bytes become a file: quota first, then the bytes, then the blob, then the row.

The process may die between any two steps. Leftovers then have a row, and the sweeper removes them: a file is
complete or does not exist.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlmodel import Session

from services.files import media_types
from services.files.errors import UploadAbandoned
from services.files.events import tell_uploaded
from services.files.models import File, FileState
from services.files.names import folded
from services.files.settings import Settings
from services.files.storage.blob_store import Blobs, Inflow
from services.files.storage.staging import Landed, StagedFile
from services.files.uploads import quota
from services.files.uploads.description import Described
from services.files.uploads.quota import Quota
from shared.clock import now
from shared.data.database import Database
from shared.errors import Problem
from shared.events import Trail
from shared.process.disk import Disk

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Room:
    """Quota reserved for a blob: its future key, and the staging file that becomes the blob."""

    key: str
    staged: StagedFile
    inflow: Inflow

    async def finish(self, blobs: Blobs) -> Landed:
        """Make all received bytes durable."""
        await self.inflow.flush()
        return await blobs.run(self.staged.finish)

    async def discard(self, blobs: Blobs) -> None:
        await self.inflow.settle()
        await blobs.run(self.staged.discard)


class Intake:
    """Receives files."""

    def __init__(self, database: Database, blobs: Blobs, settings: Settings, disk: Disk) -> None:
        self.blobs = blobs
        self.disk = disk
        self.quota = Quota.of(settings)
        self.first_state = first_state(settings)
        self._database = database
        self._lease = timedelta(seconds=settings.lease_seconds)

    @asynccontextmanager
    async def room(self, user_id: str, size: int) -> AsyncIterator[Room]:
        """Reserve quota and a staging file; both are released if the block fails."""
        self.disk.require_room(size)
        key = quota.new_key()
        await self._database.run(quota.reserve, user_id, size, self.quota, now() + self._lease, key)
        keeping = asyncio.create_task(self._keep(key))
        room = None
        try:
            staged = await self.blobs.run(self.blobs.staging.create, key)
            room = Room(key, staged, Inflow(self.blobs, staged))
            yield room
        except BaseException:
            await asyncio.shield(self._take_back(key, room))
            raise
        finally:
            keeping.cancel()

    async def keep(self, key: str, sha256: str) -> None:
        """Turn a staged file into a blob."""
        try:
            await self.blobs.run(self.blobs.store.put, key, self.blobs.staging.path(key), sha256)
        except FileNotFoundError as error:  # the process was suspended so long that the sweeper removed it
            raise UploadAbandoned from error

    async def _keep(self, key: str) -> None:
        """Extend the reservation while bytes arrive, however slowly."""
        while True:
            await asyncio.sleep(self._lease.total_seconds() / 3)
            with suppress(Problem):  # the database is unreachable; there is time for another attempt
                await self._database.run(quota.extend, key, now() + self._lease)

    async def _take_back(self, key: str, room: Room | None) -> None:
        if room is not None:
            with suppress(OSError):
                await room.discard(self.blobs)
        try:
            await self._database.run(quota.release, key)
        except Problem:
            log.warning("room_not_given_back_yet", key=key)  # the sweeper will give it back


def first_state(settings: Settings) -> FileState:
    """Return the state of a file whose content has not been scanned yet."""
    return FileState.SCANNING if settings.clamav_address else FileState.READY


def add_file(
    session: Session,
    user_id: str,
    key: str,
    described: Described,
    found: Landed,
    state: FileState,
    trail: Trail,
) -> File:
    """Insert a file whose blob is stored, emit its event and write its record."""
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
        state=state,
        blob_key=key,
    )
    session.add(file)
    session.flush()
    tell_uploaded(session, file)
    trail.resource = file.id
    trail.add(filename=file.name, size=file.size)
    trail.write(session)
    return file
