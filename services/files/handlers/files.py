"""Lists and changes of files, for their owner; public files are visible to everyone."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from sqlalchemy import ColumnElement, select
from sqlmodel import Session

from services.files import changes
from services.files.access import visible
from services.files.models import FILES, SEARCH, USAGE, Visibility
from services.files.names import folded
from services.files.schemas import ChangeFile, FileOut, ListFiles, UsageOut
from services.files.settings import Settings
from shared.caller import Caller
from shared.data.database import one_row
from shared.http.preconditions import IfMatch
from shared.http.schemas import Id, Page
from shared.ids import first_id
from shared.lists.search import Search, find_page

# A file gets its id before its creation time; the clock may be changed in between.
CLOCK_STEP = timedelta(minutes=5)


def list_files(query: ListFiles, caller: Caller, session: Session) -> Page[FileOut]:
    """List your files, newest first."""
    own = [{"user_id": caller.id, "visibility": one} for one in Visibility]
    return _page(session, own, query)


def list_visible_files(query: ListFiles, caller: Caller | None, session: Session) -> Page[FileOut]:
    """List all public files, and your own files if you are signed in; newest first."""
    scopes = [{"visibility": str(Visibility.PUBLIC)}]
    if caller is not None:
        scopes.append({"user_id": caller.id, "visibility": Visibility.PRIVATE})
    return _page(session, scopes, query)


def show_metadata(file_id: Id, caller: Caller | None, session: Session) -> FileOut:
    """Show the description of a file, without its content."""
    return FileOut.of(visible(session, file_id, caller))


def change_file(
    file_id: Id, body: ChangeFile, caller: Caller, if_match: IfMatch, session: Session
) -> FileOut:
    """Rename a file of yours, make it public or private, or replace its metadata."""
    return FileOut.of(changes.change(session, file_id, body, caller, if_match).model_dump())


def update_file(
    file_id: Id, body: ChangeFile, caller: Caller, if_match: IfMatch, session: Session
) -> FileOut:
    """Change a file like PATCH, for clients that only support PUT."""
    return FileOut.of(changes.change(session, file_id, body, caller, if_match).model_dump())


def delete_file(file_id: Id, caller: Caller, if_match: IfMatch, session: Session) -> None:
    """Move a file to the trash, where it can be restored for a while."""
    changes.move_to_trash(session, file_id, caller, if_match)


def show_usage(caller: Caller, settings: Settings, session: Session) -> UsageOut:
    """Show your usage and your quota."""
    row = one_row(session, select(USAGE).where(USAGE.c.user_id == caller.id)) or {}
    return UsageOut(
        used=row.get("used", 0),
        reserved=row.get("reserved", 0),
        limit=settings.quota_bytes,
        files=row.get("files", 0),
        files_limit=settings.quota_files,
    )


def _page(session: Session, scopes: Sequence[Mapping[str, str]], query: ListFiles) -> Page[FileOut]:
    """Return one page of the files in these scopes, each of which has one visibility."""
    texts, checked = _wanted(query)
    since, until = query.created_from, query.created_before
    always: list[ColumnElement[bool]] = [FILES.c.trashed.is_(None)]
    if query.visibility is not None:
        scopes = [scope for scope in scopes if scope["visibility"] == query.visibility]
    if query.name is not None:  # it has its own index; the other filters are checked row by row
        scopes = [{**scope, "name": query.name} for scope in scopes]
        texts = {}
    if since is not None:
        always.append(FILES.c.created >= since)
    if until is not None:
        always.append(FILES.c.created < until)
    search = Search(
        scopes,
        texts,
        checked,
        always,
        since=None if since is None else first_id(since, -CLOCK_STEP),
        until=None if until is None else first_id(until, CLOCK_STEP),
    )
    return find_page(session, SEARCH, search, query, FileOut.of)


def _wanted(query: ListFiles) -> tuple[dict[str, str], list[ColumnElement[bool]]]:
    """Return the texts for the search index, which may match too many rows, and the exact conditions."""
    texts: dict[str, str] = {}
    checked: list[ColumnElement[bool]] = []
    if query.search is not None:
        texts["folded_name"] = folded(query.search)
        checked.append(FILES.c.folded_name.contains(texts["folded_name"], autoescape=True))
    if query.type is not None:
        texts["mime_type"] = query.type.rstrip("*")
        checked.append(_is_of_type(texts["mime_type"]))
    return texts, checked


def _is_of_type(kind: str) -> ColumnElement[bool]:
    column = FILES.c.mime_type
    return column.startswith(kind, autoescape=True) if kind.endswith("/") else column == kind
