"""Resumable uploads: which bytes are durable, and what happens when the upload is complete."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from weakref import WeakValueDictionary

from sqlalchemy import delete, select, update
from sqlmodel import Session
from starlette.requests import Request

from services.files.errors import (
    ChecksumMismatch,
    ContentLost,
    FileTooLarge,
    FinalUpload,
    NotThePlace,
    PartsUnfinished,
    TakenOver,
    UploadAbandoned,
)
from services.files.models import UPLOADS, FileState, Upload
from services.files.settings import Settings
from services.files.storage.blob_store import Blobs, Inflow
from services.files.storage.staging import Landed, StagedFile, measured
from services.files.uploads import quota, tus_headers
from services.files.uploads.description import Described, describe
from services.files.uploads.intake import Intake, add_file
from services.files.uploads.tus_headers import Checksum
from services.files.uploads.upload_lock import Hold, Holds, NothingToHold
from shared.clock import now
from shared.data.database import Database
from shared.errors import BadRequest, NotFound, Problem
from shared.events import Trail
from shared.ids import new_id

COMMIT_BYTES = 16 << 20
COMMIT_SECONDS = 5.0
COPY_BYTES = 1 << 20


class Resumable:
    """Receives files over several requests.

    While a chunk arrives, the durable offset is recorded every few seconds. If the process
    dies, only the bytes received since then are lost; they are truncated.
    """

    def __init__(self, database: Database, intake: Intake, settings: Settings) -> None:
        self._database = database
        self._intake = intake
        self._blobs: Blobs = intake.blobs
        self._holds = Holds(intake.blobs)
        self._joining: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # by account
        self._life = timedelta(hours=settings.resumable_hours)
        self._bytes_max = settings.resumable_max_size

    async def find(self, upload_id: str, user_id: str, trail: Trail) -> Upload:
        upload = await self._database.read(_find, upload_id, user_id)
        if upload.is_whole and not upload.is_partial and upload.file_id is None:
            return await self._complete_late(upload, trail)
        return upload

    async def settled(self, upload_id: str, user_id: str, trail: Trail) -> Upload:
        """Return the upload, after its current writer has released it."""
        upload = await self.find(upload_id, user_id, trail)
        if not upload.is_whole:
            with suppress(NothingToHold):
                async with self._holds.hold(upload.blob_key):
                    pass
        return await self.find(upload_id, user_id, trail)

    async def create(
        self, user_id: str, length: int, metadata_header: str, described: Described | None, trail: Trail
    ) -> Upload:
        """Reserve quota for an upload; without a description it is a partial upload."""
        self._require_allowed(length)
        self._intake.disk.require_room(length)
        key = quota.new_key()
        upload = Upload(
            id=new_id(),
            user_id=user_id,
            blob_key=key,
            length=length,
            metadata_header=metadata_header,
            concat="partial" if described is None else None,
            expires=now() + self._life,
        )
        await self._blobs.run(self._blobs.staging.path(key).touch, 0o600, exist_ok=False)
        try:
            await self._database.run(self._insert, upload)
        except Problem:
            await self._blobs.run(self._blobs.staging.discard, key)
            raise
        if length == 0 and described is not None:
            async with self._holds.hold(upload.blob_key) as hold:
                await self._complete(upload, hold, trail)
        return upload

    def _insert(self, session: Session, upload: Upload) -> None:
        quota.reserve(
            session, upload.user_id, upload.length, self._intake.quota, upload.expires, upload.blob_key
        )
        session.add(upload)

    async def append(
        self,
        upload_id: str,
        user_id: str,
        offset: int,
        request: Request,
        checksum: Checksum | None,
        trail: Trail,
    ) -> Upload:
        """Append the body of the request, if it starts at the offset of the upload."""
        upload = await self.find(upload_id, user_id, trail)
        if upload.is_final:
            raise FinalUpload
        _require_place(upload, offset)
        if upload.is_whole:
            return upload
        async with self._opened(upload) as hold:
            upload = await self.find(
                upload_id, user_id, trail
            )  # read it again, now that no other request writes to it
            _require_place(upload, offset)
            announced = request.headers.get("content-length", "")
            if announced.isdecimal() and offset + int(announced) > upload.length:
                raise _too_long(upload)
            self._intake.disk.require_room(int(announced) if announced.isdecimal() else 0)
            hash_ = None if checksum is None else checksum.hash
            if not await self._blobs.run(hold.file.go_on, upload.received, hash_):
                raise ContentLost
            await self._take(upload, hold, request, checksum)
            if upload.is_whole and not upload.is_partial:
                await self._complete(upload, hold, trail)
        return upload

    async def _take(self, upload: Upload, hold: Hold, request: Request, checksum: Checksum | None) -> None:
        begun, noted = upload.received, time.monotonic()
        inflow = Inflow(self._blobs, hold.file)
        try:
            async for piece in hold.pieces(request):
                if begun + inflow.size + len(piece) > upload.length:
                    raise _too_long(upload)
                await inflow.add(piece)
                fresh = begun + inflow.size - upload.received
                is_due = fresh >= COMMIT_BYTES or time.monotonic() - noted >= COMMIT_SECONDS
                if is_due and checksum is None:
                    await self._note(upload, hold, inflow, begun)
                    noted = time.monotonic()
        except (BadRequest, TakenOver):
            if checksum is None:
                await self._note(upload, hold, inflow, begun)
            raise
        finally:
            await inflow.settle()
        await inflow.flush()
        if checksum is not None and checksum.hash.digest() != checksum.expected:
            raise ChecksumMismatch
        await self._note(upload, hold, inflow, begun)

    async def _note(self, upload: Upload, hold: Hold, inflow: Inflow, begun: int) -> None:
        """Record the durable offset."""
        received = begun + inflow.size
        await inflow.flush()
        await self._blobs.run(hold.file.sync)
        expires = now() + self._life
        await self._database.run(_note, upload, received, expires)
        upload.received, upload.expires = received, expires

    async def _complete(self, upload: Upload, hold: Hold, trail: Trail) -> None:
        """Turn a complete upload into a file."""
        path = self._blobs.staging.path(upload.blob_key)
        landed = hold.file.landed()
        if landed is None:  # the content arrived in several requests
            landed = await self._blobs.run(_measured_at, path)
        await self._intake.keep(upload.blob_key, landed.sha256)
        upload.file_id = await self._database.run(_finish, upload, landed, self._intake.first_state, trail)

    async def _complete_late(self, upload: Upload, trail: Trail) -> Upload:
        """Complete an upload whose process died between the last byte and the creation of the file."""
        try:
            async with self._holds.hold(upload.blob_key) as hold:
                await self._complete(upload, hold, trail)
        except NothingToHold:  # the blob is stored already
            store, key = self._blobs.store, upload.blob_key
            if await self._blobs.run(store.size, key) != upload.length:
                raise ContentLost from None
            reader = await self._blobs.run(store.open, key, 0, upload.length)
            try:
                landed = await self._blobs.run(measured, reader)
            finally:
                await self._blobs.run(reader.close)
            upload.file_id = await self._database.run(
                _finish, upload, landed, self._intake.first_state, trail
            )
        return upload

    @asynccontextmanager
    async def _opened(self, upload: Upload) -> AsyncIterator[Hold]:
        try:
            async with self._holds.hold(upload.blob_key) as hold:
                yield hold
        except NothingToHold as error:  # it was completed or terminated meanwhile
            raise TakenOver from error

    async def concatenate(
        self,
        user_id: str,
        part_ids: list[str],
        concat: str,
        metadata_header: str,
        described: Described,
        trail: Trail,
    ) -> Upload:
        """Concatenate complete uploads into a file, which takes over their quota."""
        # One at a time: concurrent requests for one file would each use disk space outside the quota.
        async with self._joining.setdefault(user_id, asyncio.Lock()):
            parts = [await self.find(part_id, user_id, trail) for part_id in part_ids]
            if not all(part.is_partial and part.is_whole for part in parts):
                raise PartsUnfinished
            if any(
                part.file_id is not None for part in parts
            ):  # the response was lost, and the client retries
                return await self._database.read(_made_of, parts, concat)
            self._require_allowed(sum(part.length for part in parts))
            return await self._concatenate(user_id, parts, concat, metadata_header, described, trail)

    async def _concatenate(
        self,
        user_id: str,
        parts: list[Upload],
        concat: str,
        metadata_header: str,
        described: Described,
        trail: Trail,
    ) -> Upload:
        paths = [self._blobs.staging.path(part.blob_key) for part in parts]
        async with self._intake.room(user_id, 0) as place:
            try:
                await self._blobs.run(_copy, paths, place.staged)
            except FileNotFoundError as error:  # one of them was terminated meanwhile
                raise PartsUnfinished from error
            landed = await place.finish(self._blobs)
            await self._intake.keep(place.key, landed.sha256)
            whole = Upload(
                id=new_id(),
                user_id=user_id,
                blob_key=place.key,
                length=landed.size,
                received=landed.size,
                metadata_header=metadata_header,
                concat=concat,
                expires=now() + self._life,
            )
            return await self._database.run(
                _join, whole, parts, described, landed, self._intake.first_state, trail
            )

    def _require_allowed(self, length: int) -> None:
        if length > self._bytes_max:
            raise FileTooLarge(
                f"An upload may have at most {self._bytes_max} bytes.", limit_bytes=self._bytes_max
            )

    async def end(self, upload_id: str, user_id: str, trail: Trail) -> None:
        """Delete an upload and free its quota; if it became a file, the file stays."""
        upload = await self.find(upload_id, user_id, trail)
        if upload.file_id is not None:
            await self._database.run(_forget, upload)
            return
        async with self._opened(upload):
            await self._database.run(_forget, upload)


def _find(session: Session, upload_id: str, user_id: str) -> Upload:
    upload = session.get(Upload, upload_id)
    if upload is None or upload.user_id != user_id or upload.expires < now():
        raise NotFound
    return upload


def _made_of(session: Session, parts: list[Upload], concat: str) -> Upload:
    """Return the upload that was already made of the same parts in the same order."""
    made = select(Upload).where(UPLOADS.c.file_id == parts[0].file_id, UPLOADS.c.concat == concat)
    found: Upload | None = session.execute(made).scalars().one_or_none()
    if found is None:
        raise PartsUnfinished
    return found


def _note(session: Session, upload: Upload, received: int, expires: datetime) -> None:
    quota.extend(session, upload.blob_key, expires)
    noting = update(UPLOADS).where(UPLOADS.c.id == upload.id).values(received=received, expires=expires)
    if session.connection().execute(noting).rowcount == 0:
        raise NotFound


def _finish(session: Session, upload: Upload, landed: Landed, state: FileState, trail: Trail) -> str:
    file = add_file(
        session, upload.user_id, upload.blob_key, described_by(upload.metadata_header), landed, state, trail
    )
    _give(session, [upload], file.id)
    return file.id


def _join(
    session: Session,
    whole: Upload,
    parts: list[Upload],
    described: Described,
    landed: Landed,
    state: FileState,
    trail: Trail,
) -> Upload:
    file = add_file(session, whole.user_id, whole.blob_key, described, landed, state, trail)
    for part in parts:
        if not quota.release(session, part.blob_key):
            raise PartsUnfinished
    _give(session, parts, file.id)
    whole.file_id = file.id
    session.add(whole)
    return whole


def _give(session: Session, uploads: list[Upload], file_id: str) -> None:
    ids = [upload.id for upload in uploads]
    giving = update(UPLOADS).where(UPLOADS.c.id.in_(ids), UPLOADS.c.file_id.is_(None))
    if session.connection().execute(giving.values(file_id=file_id)).rowcount != len(ids):
        raise UploadAbandoned


def _forget(session: Session, upload: Upload) -> None:
    if upload.file_id is None:
        quota.release(session, upload.blob_key)
    session.connection().execute(delete(UPLOADS).where(UPLOADS.c.id == upload.id))


def _measured_at(path: Path) -> Landed:
    with path.open("rb", buffering=0) as handle:
        return measured(handle)


def _copy(paths: list[Path], target: StagedFile) -> None:
    for path in paths:
        with path.open("rb", buffering=0) as handle:
            while piece := handle.read(COPY_BYTES):
                target.write([piece])


def described_by(metadata_header: str) -> Described:
    """Return the description in Upload-Metadata, by the names that clients use."""
    pairs = tus_headers.metadata(metadata_header)
    name = pairs.get("filename") or pairs.get("name")
    if name is None:
        raise tus_headers.wrong("Upload-Metadata", "must contain the name of the file, as `filename`")
    return describe(name, pairs.get("filetype") or pairs.get("type"), pairs)


def _require_place(upload: Upload, offset: int) -> None:
    if offset != upload.received:
        raise NotThePlace(headers={"Upload-Offset": str(upload.received)})


def _too_long(upload: Upload) -> FileTooLarge:
    return FileTooLarge(
        f"This is more than the {upload.length} bytes that the upload announced.", limit_bytes=upload.length
    )
