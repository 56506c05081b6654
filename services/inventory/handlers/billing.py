"""Handlers for costs."""

from sqlmodel import Session
from starlette.responses import Response

from services.inventory import costs
from services.inventory.costs import CostOut, ListCosts, SumCosts, SumsOut
from services.inventory.exporting import COSTS, ExportCosts, download
from services.inventory.settings import Settings
from shared.data.database import Database
from shared.http.schemas import Page


def list_costs(query: ListCosts, session: Session) -> Page[CostOut]:
    """List costs by day and usage type, newest days first."""
    return costs.find(session, query, query)


async def export_costs(query: ExportCosts, database: Database, settings: Settings) -> Response:
    """Download costs as a file, newest days first; `X-Row-Limit` is the maximum number of rows."""
    return download(COSTS, query, database, settings.export_rows_max)


def sum_costs(query: SumCosts, session: Session) -> SumsOut:
    """Sum costs exactly by month, day, usage type, WorkSpace, region or account."""
    return costs.sums(session, query)
