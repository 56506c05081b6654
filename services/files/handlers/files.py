"""Files as their owner sees them, and public ones as everybody does."""

from typing import Any

from sqlalchemy import Select, and_, or_, select
from sqlmodel import Session

from services.files.events import tell_changed, tell_deleted
from services.files.models import FILES, USAGE, File, Visibility
from services.files.names import folded
from services.files.schemas import ChangeFile, FileOut, ListFiles, UsageOut, dumped
from services.files.settings import Settings
from shared.clock import now
from shared.concurrency import IfMatch
from shared.database import one_row
from shared.errors import NotFound
from shared.identity import Caller
from shared.pagination import paginate
from shared.schemas import Id, Page

PERCENT_MAX = 3


def list_files(query: ListFiles, caller: Caller, session: Session) -> Page[FileOut]:
    """List your files, newest first."""
    statement = select(FILES).where(FILES.c.user_id == caller.id, FILES.c.trashed.is_(None))
    return paginate(session, _filtered(statement, query), FILES.c.id, query, FileOut.of)


def list_visible_files(query: ListFiles, caller: Caller | None, session: Session) -> Page[FileOut]:
    """List the public files of everybody, and all of yours if you are signed in; newest first."""
    public = FILES.c.visibility == Visibility.PUBLIC
    seen = public if caller is None else or_(public, FILES.c.user_id == caller.id)
    statement = select(FILES).where(seen, FILES.c.trashed.is_(None))
    return paginate(session, _filtered(statement, query), FILES.c.id, query, FileOut.of)


def show_metadata(file_id: Id, caller: Caller | None, session: Session) -> FileOut:
    """Show what is known about a file, without its content."""
    return FileOut.of(visible(session, file_id, caller))


def change_file(
    file_id: Id, body: ChangeFile, caller: Caller, if_match: IfMatch, session: Session
) -> FileOut:
    """Rename a file of yours, make it public or private, or give it other metadata."""
    file = locked(session, caller, file_id)
    if_match.check(file.version)
    if body.name is not None:
        file.name, file.folded_name = body.name, folded(body.name)
    if body.visibility is not None:
        file.visibility = body.visibility
    if body.metadata is not None:
        file.details = dumped(body.metadata)
    file.touch()
    tell_changed(session, file)
    return FileOut.of(file.model_dump())


def update_file(
    file_id: Id, body: ChangeFile, caller: Caller, if_match: IfMatch, session: Session
) -> FileOut:
    """Change a file as PATCH does, for clients that only know PUT."""
    return change_file(file_id, body, caller, if_match, session)


def delete_file(file_id: Id, caller: Caller, if_match: IfMatch, session: Session) -> None:
    """Put a file into the trash, from where it can be restored for a while."""
    file = locked(session, caller, file_id)
    if_match.check(file.version)
    file.trashed = now()
    file.touch()
    tell_deleted(session, file, permanent=False)


def show_usage(caller: Caller, settings: Settings, session: Session) -> UsageOut:
    """Show how much room you use, and how much you have."""
    row = one_row(session, select(USAGE).where(USAGE.c.user_id == caller.id)) or {}
    return UsageOut(
        used=row.get("used", 0),
        reserved=row.get("reserved", 0),
        limit=settings.quota_bytes,
        files=row.get("files", 0),
        files_limit=settings.quota_files,
    )


def visible(session: Session, file_id: str, caller: Caller | None) -> dict[str, Any]:
    """The file, if the caller may see it: his own, or a public one. Not even admins see private ones."""
    row = one_row(session, select(FILES).where(FILES.c.id == file_id, FILES.c.trashed.is_(None)))
    if row is None or not (row["visibility"] == Visibility.PUBLIC or _is_owner(caller, row["user_id"])):
        raise NotFound
    return row


def locked(session: Session, caller: Caller, file_id: str, *, trashed: bool = False) -> File:
    """Read a file of the caller's so that nobody else changes it before this transaction ends."""
    file = session.get(File, file_id, with_for_update=True)
    if file is None or file.user_id != caller.id or (file.trashed is not None) != trashed:
        raise NotFound
    return file


def _is_owner(caller: Caller | None, user_id: str) -> bool:
    return caller is not None and caller.id == user_id


def _filtered(statement: Select[Any], query: ListFiles) -> Select[Any]:
    column = FILES.c
    wanted = []
    if query.name is not None:
        wanted.append(column.name == query.name)
    if query.search is not None:
        wanted.append(column.folded_name.contains(folded(query.search), autoescape=True))
    if query.type is not None:
        kind = query.type.rstrip("*")
        wanted.append(
            column.mime_type.startswith(kind, autoescape=True)
            if kind.endswith("/")
            else column.mime_type == kind
        )
    if query.visibility is not None:
        wanted.append(column.visibility == query.visibility)
    if query.created_from is not None:
        wanted.append(column.created >= query.created_from)
    if query.created_before is not None:
        wanted.append(column.created < query.created_before)
    return statement.where(and_(True, *wanted))
