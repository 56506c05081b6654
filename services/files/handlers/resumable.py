"""Resumable uploads by tus 1.0."""

from sqlalchemy import select
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from services.files.models import UPLOADS, Upload
from services.files.schemas import UploadOut
from services.files.settings import Settings
from services.files.uploads import tus_headers
from services.files.uploads.description import permitted
from services.files.uploads.resumable import Resumable, described_by
from shared.caller import Caller
from shared.clock import now
from shared.data.database import one_row
from shared.errors import MethodNotAllowed, NotFound
from shared.events import Trail
from shared.http.schemas import Id, Page
from shared.lists.pagination import PageQuery, paginate


async def show_upload_options(settings: Settings) -> Response:
    """Show the supported extensions of tus, and how large an upload may be."""
    headers = {
        "Tus-Resumable": tus_headers.VERSION,
        "Tus-Version": tus_headers.VERSION,
        "Tus-Extension": tus_headers.EXTENSIONS,
        "Tus-Max-Size": str(settings.resumable_max_size),
        "Tus-Checksum-Algorithm": tus_headers.ALGORITHMS,
    }
    return Response(status_code=204, headers=headers)


@tus_headers.spoken
async def create_upload(request: Request, caller: Caller, uploads: Resumable, trail: Trail) -> Response:
    """Start a resumable upload (tus 1.0), optionally with the first chunk, or concatenate parts into a file.

    `Upload-Metadata` holds `filename`, and optionally `filetype`, `visibility` and `metadata`.
    """
    concat = request.headers.get("upload-concat")
    metadata = request.headers.get("upload-metadata", "")
    if concat is not None and concat != "partial":
        if "upload-length" in request.headers:
            raise tus_headers.wrong("Upload-Length", "must be omitted: the parts have their own lengths")
        parts = tus_headers.parts(concat)
        whole = permitted(described_by(metadata), caller)
        upload = await uploads.concatenate(caller.id, parts, concat, metadata, whole, trail)
        return _answer(201, upload, {"Location": _address(upload)})
    tus_headers.metadata(metadata)
    length = tus_headers.number(request, "upload-length")
    checksum = tus_headers.checksum(request.headers.get("upload-checksum"))
    described = None if concat == "partial" else permitted(described_by(metadata), caller)
    trail.is_written = True  # an incomplete upload is not worth a record
    upload = await uploads.create(caller.id, length, metadata, described, trail)
    if request.headers.get("content-type") == tus_headers.BYTES_TYPE and length:
        upload = await uploads.append(upload.id, caller.id, 0, request, checksum, trail)
    return _answer(201, upload, {"Location": _address(upload)})


@tus_headers.spoken
async def show_upload_offset(
    upload_id: Id,
    request: Request,  # noqa: ARG001 - tus.spoken reads it
    caller: Caller,
    uploads: Resumable,
    trail: Trail,
) -> Response:
    """Show how many bytes of an upload are stored durably (tus 1.0)."""
    upload = await uploads.settled(upload_id, caller.id, trail)
    headers = {"Upload-Length": str(upload.length), "Cache-Control": "no-store"}
    if upload.metadata_header:
        headers["Upload-Metadata"] = upload.metadata_header
    if upload.concat is not None:
        headers["Upload-Concat"] = upload.concat
    return _answer(200, upload, headers)


@tus_headers.spoken
async def append_to_upload(
    upload_id: Id, request: Request, caller: Caller, uploads: Resumable, trail: Trail
) -> Response:
    """Append a chunk to an upload, at its current offset (tus 1.0)."""
    return await _append(upload_id, request, caller, uploads, trail)


@tus_headers.spoken
async def end_upload(
    upload_id: Id,
    request: Request,  # noqa: ARG001 - tus.spoken reads it
    caller: Caller,
    uploads: Resumable,
    trail: Trail,
) -> Response:
    """Terminate an upload and free its quota (tus 1.0); if it became a file, the file stays."""
    return await _end(upload_id, caller, uploads, trail)


@tus_headers.spoken
async def override_upload_method(
    upload_id: Id, request: Request, caller: Caller, uploads: Resumable, trail: Trail
) -> Response:
    """Apply X-HTTP-Method-Override, for clients that cannot send PATCH or DELETE (tus 1.0)."""
    method = request.headers.get("x-http-method-override", "").upper()
    if method == "PATCH":
        return await _append(upload_id, request, caller, uploads, trail)
    if method == "DELETE":
        return await _end(upload_id, caller, uploads, trail)
    raise MethodNotAllowed(headers={"Allow": "GET, HEAD, PATCH, DELETE"})


def show_upload(upload_id: Id, caller: Caller, session: Session) -> UploadOut:
    """Show the progress of an upload, and the file that it became."""
    mine = select(UPLOADS).where(
        UPLOADS.c.id == upload_id, UPLOADS.c.user_id == caller.id, UPLOADS.c.expires > now()
    )
    row = one_row(session, mine)
    if row is None:
        raise NotFound
    return UploadOut.model_validate(row)


def list_uploads(query: PageQuery, caller: Caller, session: Session) -> Page[UploadOut]:
    """List your resumable uploads; each reserves quota until it is complete, ended or expired."""
    mine = select(UPLOADS).where(UPLOADS.c.user_id == caller.id)
    living = [UPLOADS.c.expires > now()]
    return paginate(session, mine, UPLOADS.c.id, query, UploadOut.model_validate, checked=living)


async def _append(
    upload_id: str, request: Request, caller: Caller, uploads: Resumable, trail: Trail
) -> Response:
    trail.is_written = True  # a piece is not worth a record; the completed file writes one
    tus_headers.require_bytes(request)
    offset = tus_headers.number(request, "upload-offset")
    checksum = tus_headers.checksum(request.headers.get("upload-checksum"))
    return _answer(204, await uploads.append(upload_id, caller.id, offset, request, checksum, trail))


async def _end(upload_id: str, caller: Caller, uploads: Resumable, trail: Trail) -> Response:
    await uploads.end(upload_id, caller.id, trail)
    return Response(status_code=204)


def _answer(status: int, upload: Upload, more: dict[str, str] | None = None) -> Response:
    headers = {
        "Upload-Offset": str(upload.received),
        "Upload-Expires": tus_headers.date(upload.expires),
        **(more or {}),
    }
    if upload.file_id is not None and not upload.is_partial:
        headers["Content-Location"] = f"/files/{upload.file_id}"
    return Response(status_code=status, headers=headers)


def _address(upload: Upload) -> str:
    # A reference without a host: valid behind every gateway, and no Host header can affect it.
    return f"/files/uploads/{upload.id}"
