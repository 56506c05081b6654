"""Handlers of the classic API: the paths and shapes of the first web interface."""

from decimal import Decimal

from sqlalchemy import select
from sqlmodel import Session
from starlette.responses import Response

from services.inventory import listing, usage
from services.inventory.ask import asking
from services.inventory.ask.model import Model
from services.inventory.ask.schemas import AskQuestion
from services.inventory.classic import filters, lists
from services.inventory.classic.schemas import (
    ClassicAnswer,
    ClassicCosts,
    ClassicDashboard,
    ClassicEvent,
    ClassicEvents,
    ClassicHealth,
    ClassicMetrics,
    ClassicOptions,
    ClassicSync,
    ClassicUsages,
    ClassicWorkspace,
    ClassicWorkspaces,
    HoursOut,
    SyncRecords,
    rounded,
)
from services.inventory.dashboard import Dashboard
from services.inventory.exporting import Format, respond
from services.inventory.models import TRAIL, WORKSPACES
from services.inventory.schemas import WorkspaceId
from services.inventory.settings import Settings
from services.inventory.sync import syncs
from services.inventory.usage import OneMonth, UsageSummary
from shared.caller import Caller
from shared.data.database import Database, one_row
from shared.errors import NotFound
from shared.events import Trail
from shared.http.schemas import Id
from shared.work.jobs import Jobs

ZERO = Decimal(0)
AVAILABLE, STOPPED = "AVAILABLE", "STOPPED"
RECENT, METRICS_ROWS, ANSWER_ROWS = 10, 100, 50
DIRECTORIES = ("active_directory", "ad")


def classic_workspaces(query: filters.ListWorkspaces, session: Session) -> ClassicWorkspaces:
    """List WorkSpaces by offset, newest first, with those that are gone as TERMINATED."""
    return ClassicWorkspaces(**lists.WORKSPACE_LIST.page(session, query))


def classic_workspace(workspace_id: WorkspaceId, session: Session) -> ClassicWorkspace:
    """Show one WorkSpace."""
    row = one_row(session, select(WORKSPACES).where(WORKSPACES.c.workspace_id == workspace_id))
    if row is None:
        raise NotFound
    return lists.shown_workspaces(session, [row])[0]


def classic_metrics(workspace_id: WorkspaceId, session: Session) -> ClassicMetrics:
    """Show the usage and the newest costs of a WorkSpace."""
    classic_workspace(workspace_id, session)
    used = filters.ListUsage(workspace_id=workspace_id, limit=METRICS_ROWS)
    billed = filters.ListCosts(workspace_id=workspace_id, limit=METRICS_ROWS)
    return ClassicMetrics(
        workspace_id=workspace_id,
        usage=lists.USAGE_LIST.page(session, used)["data"],
        billing=lists.COST_LIST.page(session, billed)["data"],
    )


def classic_options(session: Session) -> ClassicOptions:
    """Show the values that the filters of WorkSpaces may have."""
    found = listing.options(session)
    modes = found.running_modes
    return ClassicOptions(states=found.states, running_modes=modes, runningModes=modes, bundles=found.bundles)


def classic_usage(query: filters.ListUsage, session: Session) -> ClassicUsages:
    """List hours by month and WorkSpace, by offset."""
    return ClassicUsages(**lists.USAGE_LIST.page(session, query))


def classic_usage_summary(query: OneMonth, session: Session) -> HoursOut:
    """Sum up the hours of one month."""
    return _hours(usage.summary(session, query.month))


def classic_costs(query: filters.ListCosts, session: Session) -> ClassicCosts:
    """List costs by day, WorkSpace and usage type, by offset."""
    return ClassicCosts(**lists.COST_LIST.page(session, query))


def classic_events(query: filters.ListEvents, session: Session) -> ClassicEvents:
    """List calls to the WorkSpaces API, by offset."""
    return ClassicEvents(**lists.EVENT_LIST.page(session, query))


def classic_event(event: Id, session: Session) -> ClassicEvent:
    """Show one call to the WorkSpaces API."""
    row = one_row(session, select(TRAIL).where(TRAIL.c.id == event))
    if row is None:
        raise NotFound
    found: ClassicEvent = lists.EVENT_LIST.shown(session, [row])[0]
    return found


async def classic_export_workspaces(
    query: filters.ExportWorkspaces, database: Database, settings: Settings
) -> Response:
    """Download WorkSpaces as CSV or XLSX."""
    return _download(lists.WORKSPACE_LIST, query, database, settings)


async def classic_export_usage(
    query: filters.ExportUsage, database: Database, settings: Settings
) -> Response:
    """Download hours by month as CSV or XLSX."""
    return _download(lists.USAGE_LIST, query, database, settings)


async def classic_export_costs(
    query: filters.ExportCosts, database: Database, settings: Settings
) -> Response:
    """Download costs as CSV or XLSX."""
    return _download(lists.COST_LIST, query, database, settings)


async def classic_export_events(
    query: filters.ExportEvents, database: Database, settings: Settings
) -> Response:
    """Download calls to the WorkSpaces API as CSV or XLSX."""
    return _download(lists.EVENT_LIST, query, database, settings)


def _download(listed: lists.Listing, query: Format, database: Database, settings: Settings) -> Response:
    most = settings.export_rows_max
    return respond(listed.name, listed.columns, listed.exported(database, query, most), query, most)


def classic_dashboard(dashboard: Dashboard, session: Session) -> ClassicDashboard:
    """Show the totals of the start page. The figures are at most 15 seconds old."""
    found = dashboard.show(session)
    last = max(found.last_read.values(), default=None)
    return ClassicDashboard(
        total_workspaces=found.total_workspaces + found.gone_workspaces,
        active_workspaces=found.by_state.get(AVAILABLE, 0),
        stopped_workspaces=found.by_state.get(STOPPED, 0),
        terminated_workspaces=found.gone_workspaces,
        total_monthly_cost=rounded(sum(found.cost.values(), ZERO)),
        recent_activity=lists.sync_records(session, RECENT),
        current_month_usage=_hours(found.usage),
        last_sync=None if last is None else f"{last:%Y-%m-%d %H:%M:%S} UTC",
    )


def _hours(found: UsageSummary) -> HoursOut:
    names = ("total_hours", "avg_hours", "max_hours", "min_hours")
    return HoursOut(
        workspace_count=found.workspace_count, **{name: rounded(getattr(found, name)) for name in names}
    )


def classic_trigger_sync(
    query: filters.SyncQuery,
    caller: Caller,
    jobs: Jobs,
    settings: Settings,
    session: Session,
    trail: Trail,
) -> ClassicSync:
    """Start a sync of all accounts."""
    syncs.require_permission(caller, settings)
    kind = "directories" if query.type in DIRECTORIES else query.type
    trail.add(kind=kind)
    sync_id = syncs.start(session, jobs, kind=kind, by=caller.id)
    return ClassicSync(message="The sync was started.", sync_id=sync_id, sync_type=query.type)


def classic_syncs(query: filters.ListSyncs, session: Session) -> SyncRecords:
    """List syncs, newest first."""
    return SyncRecords(data=lists.sync_records(session, query.limit))


async def classic_ask(body: AskQuestion, database: Database, model: Model, trail: Trail) -> ClassicAnswer:
    """Ask about WorkSpaces in English; the response repeats what was understood."""
    answer, by = await asking.ask_anyone(database, model, body.prompt)
    trail.add(understood=answer.understood, by=by)
    lines = [f"{answer.understood}: {answer.text}"]
    lines += [
        ", ".join("none" if value is None else str(value) for value in row)
        for row in answer.found.rows[:ANSWER_ROWS]
    ]
    text = "\n".join(lines)
    return ClassicAnswer(response=text, tokens=len(text.split()))


def classic_ask_health() -> ClassicHealth:
    """Show that questions can be asked."""
    return ClassicHealth(status="healthy")
