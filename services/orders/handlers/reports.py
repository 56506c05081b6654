"""Handlers of reports. Their jobs are those of the chassis."""

import json
from datetime import timedelta

from sqlalchemy import func, select
from sqlmodel import Session
from starlette.responses import Response, StreamingResponse

from services.orders.errors import ReportExpired, ReportNotReady
from services.orders.reports import files
from services.orders.reports.schemas import StartReport
from services.orders.reports.writing import KIND
from services.orders.settings import Settings
from shared.caller import Caller
from shared.clock import now
from shared.data.database import Database
from shared.errors import NotFound, TooManyRequests
from shared.http.downloads import GUARDS, disposition
from shared.http.schemas import Id
from shared.ids import first_id, moment_of
from shared.lists.workbooks import MEDIA_TYPE
from shared.work.jobs import Jobs, State
from shared.work.operations import JobOut

REPORTS_DAILY = 50
_TYPES = {"csv": "text/csv; charset=utf-8", "pdf": "application/pdf", "xlsx": MEDIA_TYPE}


def start_report(body: StartReport, caller: Caller, session: Session, jobs: Jobs) -> JobOut:
    """Start a report. Follow it as a job; its file can be downloaded for a few days once it is done.

    Your reports are written one after the other. A file has at most 200,000 rows.
    """
    recent = jobs.table.c.owner == caller.id, jobs.table.c.id >= first_id(now(), -timedelta(days=1))
    some = select(jobs.table.c.id).where(*recent).limit(REPORTS_DAILY).subquery()
    if session.connection().execute(select(func.count()).select_from(some)).scalar_one() >= REPORTS_DAILY:
        raise TooManyRequests(f"You have started {REPORTS_DAILY} reports within a day.")
    job_id = jobs.start(session, KIND, caller.id, caller.id, wanted=body.model_dump_json())
    return JobOut.of(jobs.read(session, job_id))


async def download_report(report_id: Id, database: Database, jobs: Jobs, settings: Settings) -> Response:
    """Download the file of a report. Its id is that of the job."""
    job = await database.read(jobs.read, report_id)
    if job["kind"] != KIND:
        raise NotFound
    if moment_of(job["id"]) + settings.report_time <= now():
        raise ReportExpired
    if job["state"] != State.DONE:
        raise ReportNotReady(state=job["state"])
    file = json.loads(job["result"])
    headers = {
        **GUARDS,
        "cache-control": "no-store",
        "content-disposition": disposition(file["name"], shown=False),
        "content-length": str(file["bytes"]),  # a file that expires meanwhile is seen to be cut off
    }
    media_type = _TYPES[file["name"].rpartition(".")[2]]
    return StreamingResponse(files.parts(database, job["id"]), headers=headers, media_type=media_type)
