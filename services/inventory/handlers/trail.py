"""Handlers for CloudTrail events."""

from sqlmodel import Session
from starlette.responses import Response

from services.inventory import trail
from services.inventory.exporting import EVENTS, ExportEvents, download
from services.inventory.models import TrailEvent
from services.inventory.settings import Settings
from services.inventory.trail import EventOut, ListEvents
from shared.data.database import Database
from shared.errors import NotFound
from shared.http.schemas import Id, Page


def list_events(query: ListEvents, session: Session) -> Page[EventOut]:
    """List calls to the WorkSpaces API, newest first."""
    return trail.find(session, query, query)


async def export_events(query: ExportEvents, database: Database, settings: Settings) -> Response:
    """Download calls to the WorkSpaces API as a file, newest first; `X-Row-Limit` is the maximum of rows."""
    return download(EVENTS, query, database, settings.export_rows_max)


def show_event(event: Id, session: Session) -> EventOut:
    """Show one call to the WorkSpaces API."""
    found = session.get(TrailEvent, event)
    if found is None:
        raise NotFound
    return EventOut.of(found.model_dump())
