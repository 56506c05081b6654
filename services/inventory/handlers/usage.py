"""Handlers for usage hours."""

from sqlmodel import Session
from starlette.responses import Response

from services.inventory import usage
from services.inventory.exporting import USAGE, ExportUsage, download
from services.inventory.settings import Settings
from services.inventory.usage import ListUsage, OneMonth, UsageOut, UsageSummary
from shared.data.database import Database
from shared.http.schemas import Page


def list_usage(query: ListUsage, session: Session) -> Page[UsageOut]:
    """List the hours of WorkSpaces by month, newest months first."""
    return usage.find(session, query, query)


async def export_usage(query: ExportUsage, database: Database, settings: Settings) -> Response:
    """Download hours by month as a file, newest months first; `X-Row-Limit` is the maximum number of rows."""
    return download(USAGE, query, database, settings.export_rows_max)


def sum_usage(query: OneMonth, session: Session) -> UsageSummary:
    """Sum up the hours of all WorkSpaces in one month."""
    return usage.summary(session, query.month)
