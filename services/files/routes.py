"""The endpoints of the files service."""

from contracts.summaries import summary_operation
from services.files import summary
from services.files.errors import (
    BadName,
    BadUploadHeader,
    BeingScanned,
    ChecksumMismatch,
    ContentLost,
    FileTooLarge,
    FinalUpload,
    Infected,
    NotThePlace,
    PartsUnfinished,
    QuotaExceeded,
    TakenOver,
    TooManyShares,
    UnknownVersion,
    UploadAbandoned,
    UploadLocked,
)
from services.files.handlers import classic, downloading, files, resumable, shares, trash, uploading
from services.files.schemas import UploadForm
from services.files.uploads import tus_headers
from shared.errors import BadRequest, Impersonated, Invalid, UnsupportedMediaType
from shared.http.forms import BadForm
from shared.http.operations import Operation
from shared.http.ranges import RangeNotSatisfiable
from shared.identity.tokens import in_person, public

UPLOAD = (BadForm, BadName, FileTooLarge, QuotaExceeded, UnsupportedMediaType, UploadAbandoned)
UPLOADS, ONE_UPLOAD = "/files/uploads", "/files/uploads/{upload_id}"
CLASSIC, ONE_CLASSIC = "/classic/storage/files", "/classic/storage/files/{file_id}"
TUS = (UnknownVersion, BadUploadHeader)
APPEND = (
    *(*TUS, UnsupportedMediaType, NotThePlace, TakenOver, UploadAbandoned, FileTooLarge),
    *(ChecksumMismatch, UploadLocked, FinalUpload, ContentLost, BadRequest),
)
# The request that brings the last byte, or finds a complete upload, is recorded.
FILE_UPLOAD = "FILE_UPLOAD"
DOWNLOAD = (BeingScanned, Infected, ContentLost, RangeNotSatisfiable)

OPERATIONS = [
    summary_operation(summary.rows_of),
    Operation(
        "POST",
        "/files",
        uploading.upload_file,
        scope="files:write",
        status=201,
        location="/files/{id}",
        form=UploadForm,
        action=FILE_UPLOAD,
        errors=(*UPLOAD, Impersonated),
    ),
    Operation("GET", "/files", files.list_files, scope="files:read"),
    Operation("GET", "/files/visible", files.list_visible_files, scope="files:read", access=public),
    Operation("GET", "/files/usage", files.show_usage, scope="files:read"),
    Operation("OPTIONS", UPLOADS, resumable.show_upload_options, access=public, status=204),
    Operation(
        *("POST", UPLOADS, resumable.create_upload),
        scope="files:write",
        action=FILE_UPLOAD,
        status=201,
        body_type=tus_headers.BYTES_TYPE,
        errors=(*APPEND, BadName, QuotaExceeded, PartsUnfinished, Invalid, Impersonated),
    ),
    Operation("GET", UPLOADS, resumable.list_uploads, scope="files:read"),
    Operation("GET", ONE_UPLOAD, resumable.show_upload, scope="files:read"),
    Operation(
        "HEAD",
        ONE_UPLOAD,
        resumable.show_upload_offset,
        scope="files:read",
        action=FILE_UPLOAD,
        errors=(*TUS, UploadLocked, ContentLost),
    ),
    Operation(
        *("PATCH", ONE_UPLOAD, resumable.append_to_upload),
        scope="files:write",
        action=FILE_UPLOAD,
        status=204,
        body_type=tus_headers.BYTES_TYPE,
        errors=APPEND,
    ),
    Operation(
        *("DELETE", ONE_UPLOAD, resumable.end_upload),
        scope="files:write",
        status=204,
        errors=(*TUS, TakenOver, UploadLocked),
    ),
    Operation(
        "POST",
        ONE_UPLOAD,
        resumable.override_upload_method,
        scope="files:write",
        action=FILE_UPLOAD,
        status=204,
        errors=APPEND,
    ),
    Operation(
        "GET",
        "/files/shared/{share_id}",
        shares.download_shared,
        access=public,
        sends_bytes=True,
        errors=DOWNLOAD,
    ),
    Operation(
        "POST",
        "/files/{file_id}/shares",
        shares.make_share,
        access=in_person,
        scope="files:write",
        status=201,
        errors=(TooManyShares,),
    ),
    Operation("GET", "/files/{file_id}/shares", shares.list_shares, scope="files:read"),
    Operation(
        "DELETE", "/files/{file_id}/shares/{share_id}", shares.revoke_share, scope="files:write", status=204
    ),
    Operation("GET", "/files/trash", trash.list_trash, scope="files:read"),
    Operation("POST", "/files/trash/{file_id}/restore", trash.restore_file, scope="files:write"),
    Operation("DELETE", "/files/trash/{file_id}", trash.purge_file, scope="files:write", status=204),
    Operation(
        "GET",
        "/files/{file_id}",
        downloading.download_file,
        scope="files:read",
        access=public,
        sends_bytes=True,
        errors=DOWNLOAD,
    ),
    Operation("GET", "/files/{file_id}/metadata", files.show_metadata, scope="files:read", access=public),
    Operation("PATCH", "/files/{file_id}", files.change_file, scope="files:write", errors=(Impersonated,)),
    Operation("PUT", "/files/{file_id}", files.update_file, scope="files:write", errors=(Impersonated,)),
    Operation("DELETE", "/files/{file_id}", files.delete_file, scope="files:write", status=204),
    # The older form, which `/api/v1/storage` leads to. Downloads are the same in both.
    Operation(
        "POST",
        "/classic/storage/upload",
        classic.upload_classic_file,
        scope="files:write",
        status=201,
        form=UploadForm,
        action=FILE_UPLOAD,
        errors=(*UPLOAD, Impersonated),
    ),
    Operation("GET", CLASSIC, classic.list_classic_files, scope="files:read", access=public),
    Operation("GET", ONE_CLASSIC, classic.show_classic_file, scope="files:read", access=public),
    Operation(
        *("PUT", ONE_CLASSIC, classic.change_classic_file),
        scope="files:write",
        action="CHANGE_FILE",
        errors=(Impersonated,),
    ),
    Operation(
        *("DELETE", ONE_CLASSIC, classic.delete_classic_file), scope="files:write", action="DELETE_FILE"
    ),
]
