"""Handlers of reports about tickets."""

from sqlmodel import Session
from starlette.responses import Response

from services.support import desk
from services.support.ticket_reports import StartTicketReport
from shared.caller import Caller
from shared.data.database import Database
from shared.http.schemas import Id
from shared.reports.reports import Reports
from shared.work.jobs import Jobs
from shared.work.operations import JobOut


def start_ticket_report(
    body: StartTicketReport, caller: Caller, session: Session, jobs: Jobs, reports: Reports
) -> JobOut:
    """Start a report about tickets. Follow it as a job; its file can be downloaded for a few days.

    Your reports are written one after the other. A file has at most 200,000 rows.
    """
    desk.require_staff(session, caller)
    return reports.start(session, jobs, caller.id, body)


async def download_ticket_report(
    report_id: Id, caller: Caller, database: Database, reports: Reports, jobs: Jobs
) -> Response:
    """Download the file of a report about tickets. Its id is that of the job."""
    await database.read(desk.require_staff, caller)
    return await reports.respond(jobs, report_id)
