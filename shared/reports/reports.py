"""Reports about the rows of a service: started by a request, written as a job, downloaded as a file.

A service provides its sources and its table of parts; everything else is the same for all services.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from functools import partial

from sqlalchemy import Table, func, select
from sqlmodel import Session
from starlette.responses import Response, StreamingResponse

from shared.clock import now
from shared.data.database import Database
from shared.errors import NotFound, TooManyRequests
from shared.http.downloads import GUARDS, disposition
from shared.ids import first_id, moment_of
from shared.lists.workbooks import MEDIA_TYPE
from shared.reports.errors import ReportExpired, ReportNotReady
from shared.reports.files import Files
from shared.reports.schemas import ReportInput
from shared.reports.source import Source
from shared.reports.writing import Writer
from shared.work.duties import Duty
from shared.work.jobs import Jobs, Kind, State
from shared.work.operations import JobOut

KIND = "report"
REPORTS_DAILY = 50
EXPIRE_SECONDS = 3600
_TYPES = {"csv": "text/csv; charset=utf-8", "pdf": "application/pdf", "xlsx": MEDIA_TYPE}


class Reports:
    """The reports of one service, whose files are kept for a while."""

    def __init__(
        self, database: Database, parts: Table, sources: Mapping[str, Source], kept: timedelta
    ) -> None:
        self._database, self._files, self._kept = database, Files(parts), kept
        self._writer = Writer(database, self._files, sources, kept)

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kind of job that writes reports."""
        return {KIND: Kind(self._writer.write)}

    @property
    def duty(self) -> Duty:
        """The duty that deletes old files."""
        deleting = partial(self._files.delete_expired, self._database, self._kept)
        return Duty("expire_reports", EXPIRE_SECONDS, deleting, alone=True)

    def start(self, session: Session, jobs: Jobs, owner: str, wanted: ReportInput) -> JobOut:
        """Start a report when this transaction commits. Reports of one account are written one at a time."""
        table, since = jobs.table, first_id(now(), -timedelta(days=1))
        recent = table.c.owner == owner, table.c.id >= since, table.c.kind == KIND
        some = select(table.c.id).where(*recent).limit(REPORTS_DAILY).subquery()
        if session.connection().execute(select(func.count()).select_from(some)).scalar_one() >= REPORTS_DAILY:
            raise TooManyRequests(f"You have started {REPORTS_DAILY} reports within a day.")
        job_id = jobs.start(session, KIND, owner, owner, wanted=wanted.model_dump_json())
        return JobOut.of(jobs.read(session, job_id))

    async def respond(self, jobs: Jobs, report_id: str) -> Response:
        """Respond with the file of a report. Its id is that of the job."""
        job = await self._database.read(jobs.read, report_id)
        if job["kind"] != KIND:
            raise NotFound
        if moment_of(job["id"]) + self._kept <= now():
            raise ReportExpired
        if job["state"] != State.DONE:
            raise ReportNotReady(state=job["state"])
        file = json.loads(job["result"])
        headers = {
            **GUARDS,
            "cache-control": "no-store",
            "content-disposition": disposition(file["name"], shown=False),
            # If the file expires while it is sent, the client sees that the end is missing.
            "content-length": str(file["bytes"]),
        }
        media_type = _TYPES[file["name"].rpartition(".")[2]]
        content = self._files.parts(self._database, job["id"])
        return StreamingResponse(content, headers=headers, media_type=media_type)
