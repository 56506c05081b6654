"""Why the files service refuses."""

from shared.errors import BadRequest, Conflict, Forbidden, Invalid, Problem, TooLarge, Unavailable


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


class ContentLost(Problem):
    """The content of this file is missing from the storage; ask the operator for a backup of it."""

    status = 410
    code = "content_lost"


class RangeNotSatisfiable(Problem):
    """The file is shorter than where the wanted range begins; Content-Range says how long it is."""

    status = 416
    code = "range_not_satisfiable"


class UnknownVersion(Problem):
    """Uploads in pieces speak tus 1.0: send `Tus-Resumable: 1.0.0`."""

    status = 412
    code = "unknown_tus_version"


class BadUploadHeader(BadRequest):
    """A header of the upload is not as tus says it must be."""

    code = "bad_upload_header"


class NotThePlace(Conflict):
    """The upload has another offset; Upload-Offset says from where to go on."""

    code = "wrong_offset"


class TakenOver(Conflict):
    """Another request for the same upload took over. Ask for the offset, and go on from there."""

    code = "taken_over"


class UploadLocked(Problem):
    """Another request for the same upload does not come to an end; try again in a moment."""

    status = 423
    code = "upload_locked"


class ChecksumMismatch(Problem):
    """The bytes are not those that the checksum was made of. They were thrown away; send them again."""

    status = 460
    code = "checksum_mismatch"


class FinalUpload(Forbidden):
    """This upload is made of others; it takes no bytes of its own."""

    code = "final_upload"


class PartsUnfinished(Conflict):
    """Some of the uploads that were named lack bytes, are no parts, or are parts of something else by now."""

    code = "parts_unfinished"


class StorageUnavailable(Unavailable):
    """The storage does not answer as it should; try again in a moment."""

    code = "storage_unavailable"


class StorageFull(Problem):
    """The server has no room left for anybody. Its operator has to make some; try again later."""

    status = 507
    code = "storage_full"


class TooManyShares(Conflict):
    """There are as many links to this file as there may be; revoke one first."""

    code = "too_many_shares"


class BeingScanned(Conflict):
    """The content is still being checked for viruses; try again in a moment."""

    code = "being_scanned"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "2"})


class Infected(Conflict):
    """The content is held back: a virus scanner found something in it. Its owner can delete it."""

    code = "infected"
