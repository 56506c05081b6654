"""Why the files service refuses."""

from shared.errors import BadRequest, Conflict, Invalid, Problem, TooLarge


class BadForm(BadRequest):
    """The body must be multipart/form-data with one file in the field `file`: curl -F file=@report.pdf."""

    code = "bad_form"


class BadName(Invalid):
    """A file cannot have this name."""

    code = "bad_name"


class FileTooLarge(TooLarge):
    """The file is larger than this server takes in one request."""

    code = "file_too_large"


class QuotaExceeded(Problem):
    """There is no room left for you. Delete files for good, or ask for a larger quota."""

    status = 507
    code = "quota_exceeded"


class UploadAbandoned(Conflict):
    """The upload took so long that its place was given away. Send the file again."""

    code = "upload_abandoned"


class NotServed(Conflict):
    """The content of this file cannot be had as things stand; `state` says why."""

    code = "not_served"


class ContentLost(Problem):
    """The content of this file is missing from the storage; ask the operator for a backup of it."""

    status = 410
    code = "content_lost"


class RangeNotSatisfiable(Problem):
    """The file is shorter than where the wanted range begins; Content-Range says how long it is."""

    status = 416
    code = "range_not_satisfiable"
