"""Links to a file that expire: anyone with the link can download the content, without an account."""

import hmac
import secrets
from datetime import timedelta

from sqlalchemy import ColumnElement, delete, or_, select, update
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from services.files.access import locked
from services.files.downloads import content as downloads
from services.files.downloads.content import Content, served
from services.files.errors import TooManyShares
from services.files.models import FILES, SHARES, Share
from services.files.schemas import MadeShareOut, MakeShare, ShareOut, ShareQuery
from services.files.settings import Settings
from services.files.storage.blob_store import Blobs
from shared.caller import Caller
from shared.clock import now
from shared.data.database import Database
from shared.errors import NotFound
from shared.hashing import sha256_hex
from shared.http.schemas import Id
from shared.process.public_address import absolute

SHARES_MAX = 100
TOKEN_BYTES = 32


def make_share(
    file_id: Id, body: MakeShare, caller: Caller, session: Session, request: Request, settings: Settings
) -> MadeShareOut:
    """Create a link to a file of yours that works for a while, and optionally for a number of downloads.

    The link is shown only in this response; the service stores its hash.
    """
    file = locked(session, caller, file_id)
    session.connection().execute(delete(SHARES).where(SHARES.c.file_id == file.id, SHARES.c.expires < now()))
    taken = session.connection().execute(select(SHARES.c.id).where(SHARES.c.file_id == file.id)).all()
    if len(taken) >= SHARES_MAX:
        raise TooManyShares
    token = secrets.token_urlsafe(TOKEN_BYTES)
    share = Share(
        file_id=file.id,
        token_hash=sha256_hex(token),
        downloads_max=body.downloads_max,
        expires=now() + timedelta(hours=body.hours),
    )
    session.add(share)
    session.flush()
    url = absolute(f"/files/shared/{share.id}?token={token}", request, settings)
    return MadeShareOut(**share.model_dump(), url=url)


def list_shares(file_id: Id, caller: Caller, session: Session) -> list[ShareOut]:
    """List the links to a file that still work, newest first."""
    locked(session, caller, file_id)
    shares = select(SHARES).where(SHARES.c.file_id == file_id, _is_good()).order_by(SHARES.c.id.desc())
    return [ShareOut.model_validate(row) for row in session.connection().execute(shares)]


def revoke_share(file_id: Id, share_id: Id, caller: Caller, session: Session) -> None:
    """Revoke a link at once."""
    file = locked(session, caller, file_id)
    gone = delete(SHARES).where(SHARES.c.id == share_id, SHARES.c.file_id == file.id)
    if session.connection().execute(gone).rowcount == 0:
        raise NotFound


async def download_shared(
    share_id: Id, query: ShareQuery, request: Request, blobs: Blobs, database: Database
) -> Response:
    """Download a file by a link from its owner."""
    is_counted, content = await database.read(_shared, share_id, query.token)
    if is_counted and request.method == "GET":
        await database.run(_count, share_id)
    return await downloads.answer(
        request, blobs, content, shown=False, cache="private, no-store", whole=is_counted
    )


def _shared(session: Session, share_id: str, token: str) -> tuple[bool, Content]:
    """Return the content, and whether downloads of it are counted."""
    found = (
        select(SHARES.c.token_hash, SHARES.c.downloads_max, FILES)
        .join(FILES)
        .where(SHARES.c.id == share_id, _is_good(), FILES.c.trashed.is_(None))
    )
    row = session.connection().execute(found).one_or_none()
    # A wrong link, a used-up one and one that never existed get the same response.
    if row is None or not hmac.compare_digest(row.token_hash, sha256_hex(token)):
        raise NotFound
    return row.downloads_max is not None, served(row._asdict())


def _count(session: Session, share_id: str) -> None:
    counting = update(SHARES).where(SHARES.c.id == share_id, _is_good())
    if session.connection().execute(counting.values(downloads=SHARES.c.downloads + 1)).rowcount == 0:
        raise NotFound  # another download took the last one


def _is_good() -> ColumnElement[bool]:
    left = or_(SHARES.c.downloads_max.is_(None), SHARES.c.downloads < SHARES.c.downloads_max)
    return (SHARES.c.expires > now()) & left
