"""The refusals of reports."""

from shared.errors import Conflict, Problem


class ReportExpired(Problem):
    """The file of this report was deleted because of its age; start the report again."""

    status = 410
    code = "report_expired"


class ReportNotReady(Conflict):
    """The report has no file yet, or it failed or was cancelled; `state` is that of its job."""

    code = "report_not_ready"
