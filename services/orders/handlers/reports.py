"""Handlers of reports."""

from sqlmodel import Session

from services.orders.reports.schemas import StartReport
from shared.caller import Caller
from shared.reports.reports import Reports
from shared.work.jobs import Jobs
from shared.work.operations import JobOut


def start_report(body: StartReport, caller: Caller, session: Session, jobs: Jobs, reports: Reports) -> JobOut:
    """Start a report. Follow it as a job; its file can be downloaded for a few days once it is done.

    Your reports are written one after the other. A file has at most 200,000 rows.
    """
    return reports.start(session, jobs, caller.id, body)
