"""Handlers that start, follow and cancel syncs."""

from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from services.inventory.schemas import check_regions
from services.inventory.settings import Settings
from services.inventory.sync import syncs
from services.inventory.sync.schemas import SyncDetail, SyncOut, SyncStarted, TriggerQuery, TriggerSync
from shared.caller import Caller
from shared.data.database import Database
from shared.events import Trail
from shared.http.schemas import Id, Page
from shared.http.streams import Streams
from shared.lists.pagination import PageQuery
from shared.work.jobs import Jobs
from shared.work.operations import follow


def trigger_sync(
    query: TriggerQuery,
    body: TriggerSync | None,
    caller: Caller,
    jobs: Jobs,
    settings: Settings,
    session: Session,
    trail: Trail,
) -> SyncStarted:
    """Start a sync of all or some accounts."""
    syncs.require_permission(caller, settings)
    asked = body or TriggerSync(kind=query.type or "all")
    if asked.regions is not None:
        check_regions(asked.regions)
    trail.add(kind=asked.kind)
    sync_id = syncs.start(
        session, jobs, kind=asked.kind, by=caller.id, account_ids=asked.accounts, regions=asked.regions
    )
    return syncs.show_started(session, sync_id)


def list_syncs(query: PageQuery, session: Session) -> Page[SyncOut]:
    """List syncs, newest first."""
    return syncs.history(session, query)


def show_sync(sync_id: Id, session: Session) -> SyncDetail:
    """Show a sync, its progress, and the state of each of its parts."""
    return syncs.show(session, sync_id)


def cancel_sync(sync_id: Id, caller: Caller, settings: Settings, jobs: Jobs, session: Session) -> SyncDetail:
    """Cancel a sync. Data it has read stays; parts it has not completed mark nothing as gone."""
    syncs.require_permission(caller, settings)
    syncs.show(session, sync_id)
    jobs.cancel(session, sync_id)
    return syncs.show(session, sync_id)


async def follow_sync(
    sync_id: Id, caller: Caller, jobs: Jobs, database: Database, streams: Streams, request: Request
) -> Response:
    """Follow a sync as server-sent events: `progress` on every change, `end` as the last event."""
    return await follow(sync_id, caller, jobs, database, streams, request)
