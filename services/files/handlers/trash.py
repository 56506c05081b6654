"""Files that were deleted and can still be restored."""

from sqlalchemy import select
from sqlmodel import Session

from services.files.access import locked
from services.files.events import tell_changed
from services.files.models import FILES
from services.files.schemas import FileOut, TrashedOut
from services.files.trash import purge
from shared.caller import Caller
from shared.http.schemas import Id, Page
from shared.lists.pagination import PageQuery, paginate


def list_trash(query: PageQuery, caller: Caller, session: Session) -> Page[TrashedOut]:
    """List your deleted files that can still be restored, newest first."""
    statement = select(FILES).where(FILES.c.user_id == caller.id, FILES.c.trashed.is_not(None))
    return paginate(session, statement, FILES.c.id, query, TrashedOut.of)


def restore_file(file_id: Id, caller: Caller, session: Session) -> FileOut:
    """Restore a file from the trash."""
    file = locked(session, caller, file_id, trashed=True)
    file.trashed = None
    file.touch()
    tell_changed(session, file)
    return FileOut.of(file.model_dump())


def purge_file(file_id: Id, caller: Caller, session: Session) -> None:
    """Delete a file in the trash permanently."""
    purge(session, locked(session, caller, file_id, trashed=True))
