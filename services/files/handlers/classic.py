"""Handlers of files in the older form; they do what the handlers of the native form do."""

from collections.abc import Mapping
from typing import Any

from sqlmodel import Session
from starlette.requests import Request

from services.files import changes
from services.files.access import visible
from services.files.classic.schemas import (
    ChangeOldFile,
    FilePage,
    FilesByNumber,
    NamedFile,
    OldFile,
)
from services.files.models import FILES, Visibility
from services.files.settings import Settings
from services.files.uploads.form import receive
from services.files.uploads.intake import Intake
from shared.caller import Caller
from shared.data.database import Database
from shared.events import Trail
from shared.http.preconditions import IfMatch
from shared.http.schemas import Done, Id
from shared.lists.numbered import page_of
from shared.process.public_address import absolute

ANY_VERSION = IfMatch(None)


async def upload_classic_file(
    request: Request, caller: Caller, intake: Intake, settings: Settings, database: Database, trail: Trail
) -> NamedFile:
    """Upload a file: a form with the field `file`, and optionally `visibility` and `metadata`."""
    row = await receive(request, caller, intake, settings, database, trail)
    return NamedFile(file=_old(row, request, settings))


def list_classic_files(
    query: FilesByNumber, caller: Caller | None, session: Session, request: Request, settings: Settings
) -> FilePage:
    """List all public files, and your own files if you are signed in; newest first."""
    kept: dict[str, str | None] = {"trashed": None}
    scopes = [{**kept, "visibility": str(Visibility.PUBLIC)}]
    if caller is not None:
        scopes.append({**kept, "user_id": caller.id, "visibility": str(Visibility.PRIVATE)})
    if query.visibility is not None:
        scopes = [scope for scope in scopes if scope["visibility"] == query.visibility]
    rows, total = page_of(session, FILES, scopes, query)
    return FilePage(files=[_old(row, request, settings) for row in rows], **query.described(total))


def show_classic_file(
    file_id: Id, caller: Caller | None, session: Session, request: Request, settings: Settings
) -> NamedFile:
    """Show the description of a file, without its content."""
    return NamedFile(file=_old(visible(session, file_id, caller), request, settings))


def change_classic_file(
    file_id: Id, body: ChangeOldFile, caller: Caller, session: Session, request: Request, settings: Settings
) -> NamedFile:
    """Make a file of yours public or private, or replace its metadata."""
    file = changes.change(session, file_id, body.native(), caller, ANY_VERSION)
    return NamedFile(file=_old(file.model_dump(), request, settings))


def delete_classic_file(file_id: Id, caller: Caller, session: Session) -> Done:
    """Move a file to the trash, where it can be restored for a while."""
    changes.move_to_trash(session, file_id, caller, ANY_VERSION)
    return Done()


def _old(row: Mapping[str, Any], request: Request, settings: Settings) -> OldFile:
    url = absolute(f"/api/v1/storage/files/{row['id']}/download", request, settings)
    return OldFile.of(row, settings.storage_type, url)
