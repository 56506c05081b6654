"""Downloads of blobs."""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.files import media_types
from services.files.errors import BeingScanned, ContentLost, Infected
from services.files.models import FileState
from services.files.storage.blob_store import Blobs
from services.files.storage.store import BlobMissing, BlobReader
from shared.http import ranges
from shared.http.downloads import GUARDS, disposition
from shared.http.ranges import Span

log = structlog.get_logger(__name__)

READ_BYTES = 512 * 1024


@dataclass(frozen=True, slots=True)
class Content:
    """What must be known about a file before its first byte is sent."""

    blob_key: str
    name: str
    mime_type: str
    size: int
    sha256: str
    created: datetime

    @classmethod
    def of(cls, row: dict[str, Any]) -> "Content":
        return cls(**{name: row[name] for name in cls.__slots__})

    @property
    def etag(self) -> str:
        return f'"{self.sha256}"'

    @property
    def modified(self) -> str:
        return format_datetime(self.created, usegmt=True)


def served(row: dict[str, Any]) -> Content:
    """Return the content of a file whose state allows a download, or raise the refusal."""
    if row["state"] == FileState.SCANNING:
        raise BeingScanned
    if row["state"] == FileState.INFECTED:
        raise Infected
    if row["state"] == FileState.LOST:
        raise ContentLost
    return Content.of(row)


async def link(
    request: Request, blobs: Blobs, content: Content, *, shown: bool, seconds: int
) -> Response | None:
    """Return a direct link to the storage if it offers one; the storage handles conditions and ranges."""
    if seconds == 0 or request.method == "HEAD":
        return None
    shown = shown and media_types.may_be_shown(content.mime_type)
    as_sent = disposition(content.name, shown=shown), media_types.sent_as(content.mime_type)
    address = await blobs.run(blobs.store.link, content.blob_key, *as_sent, seconds)
    if address is None:
        return None
    return Response(status_code=307, headers={**GUARDS, "location": address, "cache-control": "no-store"})


async def answer(
    request: Request, blobs: Blobs, content: Content, *, shown: bool, cache: str, whole: bool = False
) -> Response:
    """Return the response for the requested part of the content; with `whole`, always for all of it."""
    headers = {**GUARDS, "etag": content.etag, "last-modified": content.modified, "cache-control": cache}
    if _is_known(request, content):
        return Response(status_code=304, headers=headers)
    shown = shown and media_types.may_be_shown(content.mime_type)
    headers["content-disposition"] = disposition(content.name, shown=shown)
    headers["accept-ranges"] = "none" if whole else "bytes"
    spans = None if whole else _spans(request, content)
    kind = media_types.sent_as(content.mime_type)
    if spans is None:
        pieces: list[bytes | Span] = [(0, content.size)]
    elif len(spans) == 1:
        pieces = [*spans]
        headers["content-range"] = _content_range(spans[0], content.size)
    else:
        boundary = secrets.token_hex(12)
        pieces = _in_parts(spans, boundary, kind, content.size)
        kind = f"multipart/byteranges; boundary={boundary}"
    length = sum(len(piece) if isinstance(piece, bytes) else piece[1] - piece[0] for piece in pieces)
    headers |= {"content-type": kind, "content-length": str(length)}
    status = 200 if spans is None else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    first = await _open_first(blobs, content, pieces)
    return BlobResponse(blobs, content, pieces, first, status, headers)


class BlobResponse(Response):
    """Sends pieces of a blob: the next one is read while one is sent, so at most two are in memory."""

    def __init__(
        self,
        blobs: Blobs,
        content: Content,
        pieces: Sequence[bytes | Span],
        first: BlobReader,
        status: int,
        headers: dict[str, str],
    ) -> None:
        super().__init__(status_code=status, headers=headers)
        self._blobs = blobs
        self._content = content
        self._pieces = pieces
        self._first: BlobReader | None = first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        leaving = asyncio.create_task(_left(receive))
        try:
            for piece in self._pieces:
                if isinstance(piece, bytes):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                else:
                    await self._send_span(piece, send, leaving)
        finally:
            leaving.cancel()
        await send({"type": "http.response.body", "body": b""})

    async def _send_span(self, span: Span, send: Send, leaving: "asyncio.Task[None]") -> None:
        left = span[1] - span[0]
        reader, self._first = self._first, None
        if reader is None:
            reader = await self._blobs.run(self._blobs.store.open, self._content.blob_key, span[0], left)
        ahead = self._blobs.start(reader.read, min(READ_BYTES, left))
        try:
            while left and not leaving.done():  # without a client the rest need not be read
                piece = await asyncio.shield(ahead)  # the read continues after a cancellation
                if not piece:  # the length has been sent, so all we can do is abort
                    raise EOFError(f"blob {self._content.blob_key} ends {left} bytes early")
                left -= len(piece)
                ahead = self._blobs.start(reader.read, min(READ_BYTES, left))
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        finally:
            await asyncio.wait([ahead])  # before its file is closed
            await self._blobs.run(reader.close)


async def _left(receive: Receive) -> None:
    """Return when the client has disconnected, which the sender would not notice."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _open_first(blobs: Blobs, content: Content, pieces: Sequence[bytes | Span]) -> BlobReader:
    """Open the blob before anything is sent, so that a missing blob can still be reported."""
    start, end = next(piece for piece in pieces if not isinstance(piece, bytes))
    try:
        return await blobs.run(blobs.store.open, content.blob_key, start, end - start)
    except BlobMissing as error:
        log.error("blob_missing", key=content.blob_key)  # noqa: TRY400 - the traceback says nothing
        raise ContentLost from error


def _is_known(request: Request, content: Content) -> bool:
    header = request.headers.get("if-none-match")
    if header is None:
        return False
    tags = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return "*" in tags or content.etag in tags


def _spans(request: Request, content: Content) -> list[Span] | None:
    condition = request.headers.get("if-range")
    if condition is not None and condition not in (content.etag, content.modified):
        return None
    return ranges.wanted(request.headers.get("range"), content.size)


def _in_parts(spans: Sequence[Span], boundary: str, kind: str, size: int) -> list[bytes | Span]:
    pieces: list[bytes | Span] = []
    for span in spans:
        head = (
            f"\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: {_content_range(span, size)}\r\n\r\n"
        )
        pieces += [head.encode(), span]
    return [*pieces, f"\r\n--{boundary}--\r\n".encode()]


def _content_range(span: Span, size: int) -> str:
    return f"bytes {span[0]}-{span[1] - 1}/{size}"
