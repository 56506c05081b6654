"""Handlers for CloudTrail events."""

from sqlmodel import Session

from services.inventory import trail
from services.inventory.models import TrailEvent
from services.inventory.trail import EventOut, ListEvents
from shared.errors import NotFound
from shared.http.schemas import Id, Page


def list_events(query: ListEvents, session: Session) -> Page[EventOut]:
    """List calls to the WorkSpaces API, newest first."""
    return trail.find(session, query)


def show_event(event: Id, session: Session) -> EventOut:
    """Show one call to the WorkSpaces API."""
    found = session.get(TrailEvent, event)
    if found is None:
        raise NotFound
    return EventOut.of(found.model_dump())
