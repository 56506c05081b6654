"""The events that the files service emits, and how it handles the deletion of an account."""

from collections.abc import Sequence

from sqlalchemy import delete, update
from sqlmodel import Session

from contracts.events import AccountDeleted, FileChanged, FileDeleted, FileUploaded
from contracts.exports import exporting, table_section
from services.files.models import BLOBS, FILES, UPLOADS, USAGE, BlobState, File
from shared.events import Consumers, emit


def tell_uploaded(session: Session, file: File) -> None:
    uploaded = FileUploaded(
        file_id=file.id,
        user_id=file.user_id,
        name=file.name,
        size=file.size,
        mime_type=file.mime_type,
        sha256=file.sha256,
    )
    emit(session, uploaded)


def tell_changed(session: Session, file: File) -> None:
    changed = FileChanged(file_id=file.id, user_id=file.user_id, name=file.name, visibility=file.visibility)
    emit(session, changed)


def tell_deleted(session: Session, file: File, *, permanent: bool) -> None:
    emit(session, FileDeleted(file_id=file.id, user_id=file.user_id, permanent=permanent))


def delete_files_of(session: Session, events: Sequence[AccountDeleted]) -> None:
    """Delete all files of these people permanently, without the trash; the sweeper removes the bytes.

    Uploads in progress find their reservation gone, and fail. Blobs are changed first: a transaction that
    adds a file holds a lock on its blob, so this one waits for it, and the next statements see the file.
    """
    people = [event.account_id for event in events]
    run = session.connection().execute
    run(update(BLOBS).where(BLOBS.c.user_id.in_(people)).values(state=BlobState.DOOMED, until=None))
    run(delete(UPLOADS).where(UPLOADS.c.user_id.in_(people)))
    for trashed in (FILES.c.trashed.is_(None), FILES.c.trashed.is_not(None)):  # each has its index
        run(delete(FILES).where(FILES.c.user_id.in_(people), trashed))
    run(delete(USAGE).where(USAGE.c.user_id.in_(people)))


EXPORTED = [
    table_section("files", FILES, "user_id", without=("user_id", "folded_name", "blob_key")),
    table_section("uploads", UPLOADS, "user_id", without=("user_id", "blob_key")),
    table_section("usage", USAGE, "user_id", key="user_id", without=("user_id",)),
]
CONSUMES: Consumers = {AccountDeleted: delete_files_of, **exporting("files", EXPORTED)}
