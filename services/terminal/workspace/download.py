"""Downloads from a workspace: a file, whole or in part, or a folder as a zip."""

import asyncio
import mimetypes
import os
from collections.abc import Iterator
from email.utils import formatdate

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.terminal.workspace.archive import zip_pieces
from services.terminal.workspace.paths import Parts
from services.terminal.workspace.tree import Tree, etag_of, refusals
from services.terminal.workspace.workspaces import Workspaces
from shared.http import ranges
from shared.http.downloads import GUARDS, disposition

READ_BYTES = 512 * 1024
SLOW_CLIENT_SECONDS = 60.0
UNKNOWN = "application/octet-stream"
# Types that a browser may show: nothing that can run scripts.
SHOWN = frozenset(("text/plain", "image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp"))


async def file_answer(
    request: Request, workspaces: Workspaces, owner: str, parts: Parts, *, inline: bool
) -> Response:
    """Respond with a file. Its content is sent from the descriptor, whatever happens to its name."""
    descriptor, found = await workspaces.run(owner, Tree.open_file, parts)
    try:
        etag = etag_of(found)
        headers = {
            **GUARDS,
            "etag": etag,
            "last-modified": formatdate(found.st_mtime, usegmt=True),
            "cache-control": "private, no-cache",
            "accept-ranges": "bytes",
        }
        if _is_known(request, etag):
            os.close(descriptor)
            return Response(status_code=304, headers=headers)
        kind = mimetypes.guess_type(parts[-1], strict=True)[0] or UNKNOWN
        is_shown = inline and kind in SHOWN
        headers["content-type"] = kind if is_shown else UNKNOWN
        headers["content-disposition"] = disposition(parts[-1], shown=is_shown)
        start, end, status = 0, found.st_size, 200
        condition = request.headers.get("if-range")
        if condition in (None, etag, headers["last-modified"]):
            spans = ranges.wanted(request.headers.get("range"), found.st_size)
            if spans is not None and len(spans) == 1:  # a request for several ranges gets the whole file
                ((start, end),) = spans
                status = 206
                headers["content-range"] = f"bytes {start}-{end - 1}/{found.st_size}"
        headers["content-length"] = str(end - start)
    except BaseException:
        os.close(descriptor)
        raise
    return FileBody(workspaces, descriptor, (start, end), status, headers)


def _is_known(request: Request, etag: str) -> bool:
    header = request.headers.get("if-none-match")
    return header is not None and etag in {tag.strip().removeprefix("W/") for tag in header.split(",")}


class FileBody(Response):
    """Sends a span of an open file and closes it."""

    def __init__(
        self,
        workspaces: Workspaces,
        descriptor: int,
        span: ranges.Span,
        status: int,
        headers: dict[str, str],
    ) -> None:
        super().__init__(status_code=status, headers=headers)
        self._workspaces, self._descriptor, self._span = workspaces, descriptor, span

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        try:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            at, end = self._span
            while at < end and scope["method"] != "HEAD":
                size = min(READ_BYTES, end - at)
                piece = await self._workspaces.in_thread(os.pread, self._descriptor, size, at)
                if not piece:  # truncated meanwhile; the length has been sent, so all we can do is abort
                    raise EOFError("a file of a workspace was truncated while it was sent")
                at += len(piece)
                await _send(send, piece)
            await send({"type": "http.response.body", "body": b""})
        finally:
            os.close(self._descriptor)


class ZipBody(Response):
    """Sends a folder as a zip, which is made while it is sent."""

    def __init__(self, workspaces: Workspaces, tree: Tree, parts: Parts, name: str) -> None:
        headers = {
            **GUARDS,
            "content-type": "application/zip",
            "content-disposition": disposition(f"{name}.zip", shown=False),
            "cache-control": "private, no-store",
        }
        super().__init__(headers=headers)
        del self.headers["content-length"]
        self._workspaces, self._tree, self._pieces = workspaces, tree, zip_pieces(tree, parts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            while scope["method"] != "HEAD" and (piece := await self._next()) is not None:
                await _send(send, piece)
            await send({"type": "http.response.body", "body": b""})
        finally:
            await self._workspaces.release(self._close)

    async def _next(self) -> bytes | None:
        return await self._workspaces.in_thread(_next, self._pieces)

    def _close(self) -> None:
        self._pieces.close()
        self._tree.__exit__(None, None, None)


async def zip_answer(workspaces: Workspaces, owner: str, parts: Parts) -> Response:
    tree = await workspaces.in_thread(workspaces.open, owner)
    try:
        await workspaces.in_thread(_require_folder, tree, parts)
        return ZipBody(workspaces, tree, parts, parts[-1] if parts else "workspace")
    except BaseException:
        tree.__exit__(None, None, None)
        raise


def _require_folder(tree: Tree, parts: Parts) -> None:
    with refusals(), tree.folder(parts):
        pass


def _next(pieces: Iterator[bytes]) -> bytes | None:
    return next(pieces, None)


async def _send(send: Send, piece: bytes) -> None:
    """Send a piece; raise TimeoutError if the client reads too slowly."""
    async with asyncio.timeout(SLOW_CLIENT_SECONDS):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
