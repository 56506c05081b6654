"""Refusals of the files service."""

from shared.errors import BadRequest, Conflict, Forbidden, Invalid, Problem, TooLarge, Unavailable


class BadName(Invalid):
    """A file cannot have this name."""

    code = "bad_name"


class FileTooLarge(TooLarge):
    """The file is larger than this server accepts in one request."""

    code = "file_too_large"


class QuotaExceeded(Problem):
    """Your quota is exhausted. Delete files permanently, or ask the operator for a larger quota."""

    status = 507
    code = "quota_exceeded"


class UploadAbandoned(Conflict):
    """The upload took too long and its reservation has expired. Send the file again."""

    code = "upload_abandoned"


class ContentLost(Problem):
    """The content of this file is missing from the storage; ask the operator to restore it from a backup."""

    status = 410
    code = "content_lost"


class UnknownVersion(Problem):
    """Resumable uploads use tus 1.0: send `Tus-Resumable: 1.0.0`."""

    status = 412
    code = "unknown_tus_version"


class BadUploadHeader(BadRequest):
    """A header of the upload is not valid tus."""

    code = "bad_upload_header"


class NotThePlace(Conflict):
    """The upload has another offset; continue at Upload-Offset."""

    code = "wrong_offset"


class TakenOver(Conflict):
    """Another request for the same upload took over. Request the offset, and continue from there."""

    code = "taken_over"


class UploadLocked(Problem):
    """Another request for the same upload is still in progress; try again in a moment."""

    status = 423
    code = "upload_locked"


class ChecksumMismatch(Problem):
    """The bytes do not match the checksum and were discarded; send them again."""

    status = 460
    code = "checksum_mismatch"


class FinalUpload(Forbidden):
    """This upload is concatenated from others and accepts no bytes."""

    code = "final_upload"


class PartsUnfinished(Conflict):
    """Some of these uploads are incomplete, not partial, or already part of another file."""

    code = "parts_unfinished"


class StorageUnavailable(Unavailable):
    """The storage failed; try again in a moment."""

    code = "storage_unavailable"


class StorageFull(Problem):
    """The server has no storage left; try again later, or tell its operator."""

    status = 507
    code = "storage_full"


class TooManyShares(Conflict):
    """This file has the maximum number of links; revoke one first."""

    code = "too_many_shares"


class BeingScanned(Conflict):
    """The content is still being checked for viruses; try again in a moment."""

    code = "being_scanned"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "2"})


class Infected(Conflict):
    """The content is blocked because the virus scanner found a threat. The owner can delete the file."""

    code = "infected"
