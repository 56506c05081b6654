"""Handlers for WorkSpaces and the dashboard."""

from sqlalchemy import bindparam, select
from sqlmodel import Session
from starlette.responses import Response

from services.inventory import history, listing, usage
from services.inventory.dashboard import Dashboard, DashboardOut
from services.inventory.exporting import WORKSPACES as EXPORTED
from services.inventory.exporting import ExportWorkspaces, download
from services.inventory.history import HistoryOut
from services.inventory.models import CHANGES, WORKSPACES
from services.inventory.schemas import (
    ChangeOut,
    ListWorkspaces,
    OptionsOut,
    WorkspaceId,
    WorkspaceOut,
)
from services.inventory.settings import Settings
from services.inventory.usage import MetricsQuery, WorkspaceMetrics
from shared.data.database import Database
from shared.data.statements import Rows
from shared.errors import NotFound
from shared.http.schemas import Page
from shared.lists.pagination import PageQuery, paginate_equal

WORKSPACE_BY_ID = Rows(select(WORKSPACES).where(WORKSPACES.c.workspace_id == bindparam("workspace_id")))


def list_workspaces(query: ListWorkspaces, session: Session) -> Page[WorkspaceOut]:
    """List WorkSpaces, newest first; those that AWS no longer lists only with `gone`."""
    return listing.find(session, query, query)


async def export_workspaces(query: ExportWorkspaces, database: Database, settings: Settings) -> Response:
    """Download WorkSpaces as a file, newest first; `X-Row-Limit` is the maximum number of rows."""
    return download(EXPORTED, query, database, settings.export_rows_max)


def show_filter_options(session: Session) -> OptionsOut:
    """Show the values that each filter of the list may have."""
    return listing.options(session)


def show_dashboard(dashboard: Dashboard, session: Session) -> DashboardOut:
    """Show counts of WorkSpaces by state and running mode, and when they were read.

    The figures are at most 15 seconds old.
    """
    return dashboard.show(session)


def show_workspace(workspace_id: WorkspaceId, session: Session) -> WorkspaceOut:
    """Show one WorkSpace, even if it is gone."""
    row = WORKSPACE_BY_ID.one(session, workspace_id=workspace_id)
    if row is None:
        raise NotFound
    return WorkspaceOut.of(row)


def show_workspace_metrics(
    workspace_id: WorkspaceId, query: MetricsQuery, session: Session
) -> WorkspaceMetrics:
    """Show the usage hours and the costs of a WorkSpace."""
    show_workspace(workspace_id, session)
    return usage.metrics(session, workspace_id, query.months)


def list_workspace_changes(workspace_id: WorkspaceId, query: PageQuery, session: Session) -> Page[ChangeOut]:
    """List the changes of a WorkSpace, newest first."""
    show_workspace(workspace_id, session)
    return paginate_equal(session, CHANGES, {"workspace_id": workspace_id}, query, ChangeOut.unchecked)


def list_workspace_history(workspace_id: WorkspaceId, query: PageQuery, session: Session) -> Page[HistoryOut]:
    """List the changes of a WorkSpace and the calls that name it, newest first.

    A change has the time of the sync that found it.
    """
    show_workspace(workspace_id, session)
    return history.find(session, workspace_id, query)
