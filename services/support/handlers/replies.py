"""Handlers of replies and internal notes."""

from sqlmodel import Session
from starlette.requests import Request

from services.support import desk, replies
from services.support.errors import StaffOnly
from services.support.peers import Files, FoundFiles, find_files
from services.support.schemas import EditReply, ReplyOut, WriteReply
from services.support.settings import Settings
from shared.caller import Caller
from shared.events import Trail
from shared.http.schemas import Id, Page
from shared.lists.pagination import PageQuery


async def find_attachments(body: WriteReply, request: Request, caller: Caller, files: Files) -> FoundFiles:
    return await find_files(body.attachments, request, caller, files)


def reply_to_ticket(
    ticket_id: Id,
    body: WriteReply,
    found: FoundFiles,
    caller: Caller,
    session: Session,
    settings: Settings,
    trail: Trail,
) -> ReplyOut:
    """Reply to a ticket. A reply of the owner reopens the ticket; one of staff makes it wait for the owner.

    With `keep_status`, a reply of staff leaves the status as it is. An `internal` note is for staff only, and
    changes neither the ticket nor its ETag.
    """
    seen = desk.find(session, caller, ticket_id, lock=True)
    if (body.internal or body.keep_status) and not seen.is_staff:
        raise StaffOnly("Only support staff may write internal notes and keep the status.")
    found.require_all()
    trail.add(internal=body.internal)
    return replies.write(session, settings, seen, caller.id, body, found)


def edit_reply(
    ticket_id: Id,
    reply_id: Id,
    body: EditReply,
    caller: Caller,
    session: Session,
    settings: Settings,
    trail: Trail,
) -> ReplyOut:
    """Correct a reply of yours within `EDIT_MINUTES` (15).

    `edited` tells readers when that was; nobody is notified again.
    """
    seen = desk.find(session, caller, ticket_id, lock=True)
    trail.add(reply_id=reply_id)
    return replies.edit(session, settings, seen, reply_id, caller.id, body.content)


def list_replies(ticket_id: Id, query: PageQuery, caller: Caller, session: Session) -> Page[ReplyOut]:
    """List the replies to a ticket, newest first; staff also sees internal notes."""
    return replies.find(session, desk.find(session, caller, ticket_id), query)
