"""Which files a caller may see or change."""

from typing import Any

from sqlalchemy import select
from sqlmodel import Session

from services.files.models import FILES, File, Visibility
from shared.caller import Caller
from shared.data.database import one_row
from shared.errors import NotFound


def visible(session: Session, file_id: str, caller: Caller | None) -> dict[str, Any]:
    """Return the file if the caller owns it or it is public. Not even admins see private files of others."""
    row = one_row(session, select(FILES).where(FILES.c.id == file_id, FILES.c.trashed.is_(None)))
    if row is None or not (row["visibility"] == Visibility.PUBLIC or _is_owner(caller, row["user_id"])):
        raise NotFound
    return row


def locked(session: Session, caller: Caller, file_id: str, *, trashed: bool = False) -> File:
    """Read and lock a file of the caller until this transaction ends."""
    file = session.get(File, file_id, with_for_update=True)
    if file is None or file.user_id != caller.id or (file.trashed is not None) != trashed:
        raise NotFound
    return file


def _is_owner(caller: Caller | None, user_id: str) -> bool:
    return caller is not None and caller.id == user_id
