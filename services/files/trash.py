"""Permanent deletion of a file."""

from sqlmodel import Session

from services.files.events import tell_deleted
from services.files.models import File
from services.files.uploads import quota


def purge(session: Session, file: File) -> None:
    """Delete the row and free its quota at once; the sweeper deletes the bytes later."""
    session.delete(file)
    session.flush()
    quota.forget(session, file.blob_key, file.size)
    tell_deleted(session, file, permanent=True)
