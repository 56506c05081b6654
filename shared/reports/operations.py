"""The endpoints of reports: a service adds `*report_operations("/reports", start_report, …)` to its table."""

from collections.abc import Callable
from typing import Any

from starlette.responses import Response

from shared.errors import Problem, TooManyRequests
from shared.http.operations import Operation
from shared.http.schemas import Id
from shared.identity.tokens import Access
from shared.lists.workbooks import MEDIA_TYPE
from shared.reports.errors import ReportExpired, ReportNotReady
from shared.reports.reports import Reports
from shared.work.jobs import Jobs
from shared.work.operations import job_operations

ANSWER_TYPES = ("text/csv", MEDIA_TYPE, "application/pdf")


async def download_report(report_id: Id, reports: Reports, jobs: Jobs) -> Response:
    """Download the file of a report. Its id is that of the job."""
    return await reports.respond(jobs, report_id)


def report_operations(
    prefix: str,
    start: Callable[..., Any],
    download: Callable[..., Any] = download_report,
    *,
    access: Access,
    scopes: tuple[str, str],
    jobs_scope: str,
    errors: tuple[type[Problem], ...] = (),
) -> list[Operation]:
    """Return operations to start reports, to follow their jobs, and to download their files.

    Limited tokens need the first of `scopes` to start a report, and the second to download it. `jobs_scope`
    is as in `job_operations`, and `errors` are refusals of both handlers.
    """
    starting, downloading = scopes
    return [
        Operation(
            "POST",
            prefix,
            start,
            access=access,
            scope=starting,
            status=202,
            location=f"{prefix}/jobs/{{id}}",
            idempotent=True,
            errors=(*errors, TooManyRequests),
        ),
        *job_operations(prefix, scope=jobs_scope),
        Operation(
            "GET",
            f"{prefix}/{{report_id}}/file",
            download,
            access=access,
            scope=downloading,
            answer_types=ANSWER_TYPES,
            errors=(*errors, ReportExpired, ReportNotReady),
        ),
    ]
