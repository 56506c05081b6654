"""Handlers of reports about costs and usage."""

from sqlmodel import Session

from services.inventory.reports import StartInventoryReport
from shared.caller import Caller
from shared.reports.reports import Reports
from shared.work.jobs import Jobs
from shared.work.operations import JobOut


def start_inventory_report(
    body: StartInventoryReport, caller: Caller, session: Session, jobs: Jobs, reports: Reports
) -> JobOut:
    """Start a report about costs or usage. Follow it as a job; its file can be downloaded for a few days.

    Your reports are written one after the other. A file has at most 200,000 rows.
    """
    return reports.start(session, jobs, caller.id, body)
