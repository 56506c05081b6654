"""Exports of all data about the caller."""

from sqlalchemy import select
from sqlmodel import Session
from starlette.responses import Response

from services.auth.errors import ExportNotReady
from services.auth.export_models import Export
from services.auth.exports.archive import archive
from services.auth.exports.downloads import Downloads
from services.auth.exports.exports import Exports, forget, missing_services
from services.auth.exports.schemas import ExportOut
from services.auth.models import EXPORTS
from services.auth.sessions.sessions import Sessions
from shared.caller import Caller
from shared.clock import now
from shared.data.database import Database
from shared.errors import NotFound
from shared.events import Trail
from shared.http.schemas import Id, Page
from shared.lists.pagination import PageQuery, paginate


def request_export(caller: Caller, sessions: Sessions, exports: Exports, session: Session) -> ExportOut:
    """Request an archive of all your data from all services. You get a mail when it is ready."""
    return _shown(session, exports.request(session, sessions.account_of(session, caller)))


def list_exports(query: PageQuery, caller: Caller, sessions: Sessions, session: Session) -> Page[ExportOut]:
    """List your exports, the newest first."""
    mine = EXPORTS.c.account_id == sessions.account_of(session, caller).id
    living = select(EXPORTS).where(mine, EXPORTS.c.expires > now())
    return paginate(session, living, EXPORTS.c.id, query, lambda row: _shown(session, Export(**row)))


def show_export(export_id: Id, caller: Caller, sessions: Sessions, session: Session) -> ExportOut:
    """Show an export and its progress."""
    return _shown(session, _own(session, export_id, sessions.account_of(session, caller).id))


def delete_export(export_id: Id, caller: Caller, sessions: Sessions, session: Session) -> None:
    """Delete an export before it expires. It still counts towards the daily limit."""
    forget(session, _own(session, export_id, sessions.account_of(session, caller).id))


async def download_export(
    export_id: Id, caller: Caller, sessions: Sessions, database: Database, downloads: Downloads, trail: Trail
) -> Response:
    """Download the archive, a ZIP file, once the export is done: one at a time, and a few an hour."""
    export = await database.read(_finished, export_id, caller, sessions)
    lease_id = await downloads.begin(export.account_id)
    try:
        await trail.keep()
    except BaseException:
        await downloads.ended(lease_id)
        raise
    headers = {
        "Content-Disposition": f'attachment; filename="gatehouse-export-{export.created:%Y-%m-%d}.zip"',
        "Cache-Control": "no-store",
    }
    return downloads.response(lease_id, archive(database, export), headers)


def _finished(session: Session, export_id: str, caller: Caller, sessions: Sessions) -> Export:
    export = _own(session, export_id, sessions.account_of(session, caller).id)
    if export.finished is None:
        raise ExportNotReady
    session.expunge(export)
    return export


def _own(session: Session, export_id: str, account_id: str) -> Export:
    export = session.get(Export, export_id)
    if export is None or export.account_id != account_id or export.expires <= now():
        raise NotFound
    return export


def _shown(session: Session, export: Export) -> ExportOut:
    missing = missing_services(session, export) if export.finished is None else export.missing.split()
    return ExportOut.of(export.model_dump(), missing)
