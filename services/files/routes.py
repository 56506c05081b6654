"""Every endpoint of the files service, one line each."""

from services.files.errors import (
    BadForm,
    BadName,
    ContentLost,
    FileTooLarge,
    QuotaExceeded,
    RangeNotSatisfiable,
    UploadAbandoned,
)
from services.files.handlers import downloading, files, trash, uploading
from services.files.schemas import UploadForm
from shared.errors import UnsupportedMediaType
from shared.identity import public
from shared.operations import Operation

UPLOAD = (BadForm, BadName, FileTooLarge, QuotaExceeded, UnsupportedMediaType, UploadAbandoned)
DOWNLOAD = (ContentLost, RangeNotSatisfiable)

OPERATIONS = [
    Operation(
        "POST",
        "/files",
        uploading.upload_file,
        status=201,
        location="/files/{id}",
        form=UploadForm,
        errors=UPLOAD,
    ),
    Operation("GET", "/files", files.list_files),
    Operation("GET", "/files/visible", files.list_visible_files, access=public),
    Operation("GET", "/files/usage", files.show_usage),
    Operation("GET", "/files/trash", trash.list_trash),
    Operation("POST", "/files/trash/{file_id}/restore", trash.restore_file),
    Operation("DELETE", "/files/trash/{file_id}", trash.purge_file, status=204),
    Operation(
        "GET", "/files/{file_id}", downloading.download_file, access=public, sends_bytes=True, errors=DOWNLOAD
    ),
    Operation("GET", "/files/{file_id}/metadata", files.show_metadata, access=public),
    Operation("PATCH", "/files/{file_id}", files.change_file),
    Operation("PUT", "/files/{file_id}", files.update_file),
    Operation("DELETE", "/files/{file_id}", files.delete_file, status=204),
]
