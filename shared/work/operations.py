"""The endpoints of jobs: a service adds `*job_operations("/reports")` to its routing table."""

import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from shared.caller import Caller
from shared.data.database import Database
from shared.errors import NotFound, Overloaded, TooManyRequests
from shared.http.operations import Operation
from shared.http.schemas import Id, Output, Page, example
from shared.http.streams import ServerSentEvent, Streams, last_event_id
from shared.lists.pagination import PageQuery, paginate, paginate_equal
from shared.work.jobs import Jobs, State


class JobOut(Output):
    """One job; `total` is null while the amount of work is unknown."""

    model_config = example(
        {
            "id": "0197a3e2-5c1d-7b44-9d0e-6f2a8c3b1e57",
            "kind": "report",
            "subject": "2026-10",
            "owner": "0197a3e2-0000-7b44-9d0e-6f2a8c3b1e57",
            "state": "running",
            "progress": 400,
            "total": 1200,
            "note": "Adding up October",
            "cancel_asked": False,
            "attempts": 1,
            "result": None,
            "error": None,
            "created": "2026-11-02T08:00:00Z",
            "started": "2026-11-02T08:00:01Z",
            "ended": None,
        }
    )

    id: str
    kind: str
    subject: str
    owner: str
    state: State
    progress: int
    total: int | None
    note: str | None
    cancel_asked: bool
    attempts: int
    result: dict[str, Any] | None
    error: str | None
    created: datetime
    started: datetime | None
    ended: datetime | None

    @classmethod
    def of(cls, row: dict[str, Any]) -> "JobOut":
        result = None if row["result"] is None else json.loads(row["result"])
        return cls.model_validate({**row, "result": result})


def job_operations(prefix: str, *, scope: str | None = None) -> list[Operation]:
    """Return operations to list, show, cancel and follow jobs; others' jobs are 404, except for admins.

    With a scope such as `reports`, limited tokens need `reports:read` or `reports:write`.
    """
    jobs = f"{prefix}/jobs"
    reading, writing = (scope and f"{scope}:{action}" for action in ("read", "write"))
    return [
        Operation("GET", jobs, list_jobs, scope=reading),
        Operation("GET", f"{jobs}/{{job_id}}", show_job, scope=reading),
        Operation("POST", f"{jobs}/{{job_id}}/cancel", cancel_job, scope=writing, status=202),
        Operation(
            "GET",
            f"{jobs}/{{job_id}}/progress",
            follow_job,
            scope=reading,
            answer_types=("text/event-stream",),
            errors=(TooManyRequests, Overloaded),
        ),
    ]


def list_jobs(query: PageQuery, caller: Caller, jobs: Jobs, session: Session) -> Page[JobOut]:
    """List your jobs, newest first."""
    table = jobs.table
    if jobs.shown is None:
        return paginate_equal(session, table, {"owner": caller.id}, query, JobOut.of)
    mine, shown = select(table).where(table.c.owner == caller.id), table.c.kind.in_(jobs.shown)
    return paginate(session, mine, table.c.id, query, JobOut.of, checked=[shown])


def show_job(job_id: Id, caller: Caller, jobs: Jobs, session: Session) -> JobOut:
    """Show a job and its progress."""
    return JobOut.of(jobs.show(session, job_id, _whose(caller)))


def cancel_job(job_id: Id, caller: Caller, jobs: Jobs, session: Session) -> JobOut:
    """Cancel a job. A waiting job ends at once, a running one within seconds, after its current step.

    What it has done so far is not undone. An ended job is not changed.
    """
    jobs.show(session, job_id, _whose(caller))
    jobs.cancel(session, job_id)
    return JobOut.of(jobs.read(session, job_id))


async def follow_job(
    job_id: Id, caller: Caller, jobs: Jobs, database: Database, streams: Streams, request: Request
) -> Response:
    """Follow a job as server-sent events: `progress` on each change, and finally `end`.

    The data of each event is the job as JSON. A client that reconnects with `Last-Event-ID` gets only later
    changes, and 204 if it has already seen the end.
    """
    await database.read(jobs.show, job_id, _whose(caller))
    return await follow(job_id, caller, jobs, database, streams, request)


async def follow(
    job_id: str, caller: Caller, jobs: Jobs, database: Database, streams: Streams, request: Request
) -> Response:
    """Follow a job of any kind, for endpoints of a service's own; others' jobs are 404, except for admins."""
    row = await database.read(jobs.read, job_id, _whose(caller))
    seen = last_event_id(request)
    last = int(seen) if seen is not None and seen.isascii() and seen.isdecimal() else 0
    if row["ended"] is not None and row["version"] <= last:
        return Response(status_code=204)  # tells an EventSource not to reconnect
    return streams.answer(caller, _changes(jobs, database, job_id, last))


async def _changes(jobs: Jobs, database: Database, job_id: str, last: int) -> AsyncIterator[ServerSentEvent]:
    """Yield the job after each change newer than `last`, until it has ended or been deleted."""
    with jobs.changes.following(job_id) as follower:
        while True:
            try:
                row = await database.read(jobs.read, job_id)
            except NotFound:  # its history was deleted
                return
            is_end = row["ended"] is not None
            if row["version"] > last:
                last, data = row["version"], JobOut.of(row).model_dump_json()
                yield ServerSentEvent(data, id=str(last), name="end" if is_end else "progress")
            if is_end:
                return
            await follower.changed()


def _whose(caller: Caller) -> str | None:
    return None if caller.is_admin else caller.id
