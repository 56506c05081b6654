"""Downloading the content of a file."""

from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from services.files.access import visible
from services.files.downloads import content as downloads
from services.files.downloads.content import Content, served
from services.files.schemas import Download
from services.files.settings import Settings
from services.files.storage.blob_store import Blobs
from shared.caller import Caller
from shared.data.database import Database
from shared.http.schemas import Id

# A browser may cache it, but must revalidate it each time.
CACHE = "private, no-cache"


async def download_file(
    file_id: Id,
    query: Download,
    request: Request,
    caller: Caller | None,
    blobs: Blobs,
    database: Database,
    settings: Settings,
) -> Response:
    """Download a file, whole or in parts, without an account if it is public."""
    content = await database.read(_content, file_id, caller)
    link = await downloads.link(request, blobs, content, shown=query.inline, seconds=settings.s3_link_seconds)
    return link or await downloads.answer(request, blobs, content, shown=query.inline, cache=CACHE)


def _content(session: Session, file_id: str, caller: Caller | None) -> Content:
    return served(visible(session, file_id, caller))
