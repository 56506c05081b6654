"""Replies to tickets, and internal notes, which leave no trace that the owner of the ticket can see."""

from datetime import timedelta
from typing import Any

from sqlalchemy import update
from sqlmodel import Session

from services.support import due, tickets
from services.support.desk import Seen
from services.support.errors import NotYourReply, ReplyLocked, TicketFull
from services.support.models import REPLIES, TICKETS, Reply, Ticket
from services.support.peers import FoundFiles
from services.support.schemas import ReplyOut, WriteReply
from services.support.settings import Settings
from services.support.states import SOLVED, Status
from services.support.telling import tell_replied
from shared.clock import now
from shared.errors import NotFound
from shared.http.schemas import Page
from shared.lists.pagination import PageQuery, paginate_equal

REPLIES_MAX = 1000  # per ticket, and as many internal notes


def write(
    session: Session, settings: Settings, seen: Seen, author: str, body: WriteReply, found: FoundFiles
) -> ReplyOut:
    """Store the reply, and update the ticket."""
    ticket = seen.ticket
    count = ticket.note_count if body.internal else ticket.reply_count
    if count >= REPLIES_MAX:
        raise TicketFull
    by_staff = seen.is_staff and (body.internal or not seen.is_owner)
    reply = Reply(
        ticket_id=ticket.id,
        user_id=author,
        is_staff=by_staff,
        is_internal=body.internal,
        content=body.content,
    )
    if body.internal:
        # The row is changed by a statement, as its version and times must stay.
        noting = update(TICKETS).where(TICKETS.c.id == ticket.id)
        session.connection().execute(noting.values(note_count=TICKETS.c.note_count + 1))
    else:
        before = ticket.status
        _follow(session, settings, ticket, reply, keep_status=body.keep_status)
        tell_replied(session, ticket, reply, before)
    session.add(reply)
    session.flush()
    tickets.attach(session, ticket.id, reply.id, author, found)
    session.flush()
    files = tickets.attachments_of_replies(session, [reply.id])[reply.id]
    return ReplyOut.of(reply.model_dump(), files)


def _follow(session: Session, settings: Settings, ticket: Ticket, reply: Reply, *, keep_status: bool) -> None:
    to = _next_status(Status(ticket.status), by_staff=reply.is_staff)
    if to is not None and not keep_status:
        tickets.require_reopenable(session, settings, ticket, to, by_staff=reply.is_staff)
        tickets.move(session, settings, ticket, to, by=reply.user_id)
    if reply.is_staff and ticket.first_replied is None:
        ticket.first_replied = now()
        due.watch(ticket, now())
    ticket.reply_count += 1
    ticket.touch()


def _next_status(status: Status, *, by_staff: bool) -> Status | None:
    """Return the status after a reply; None if it stays."""
    if by_staff:
        return Status.WAITING if status in (Status.OPEN, Status.IN_PROGRESS) else None
    return Status.OPEN if status in (Status.WAITING, *SOLVED) else None


def edit(
    session: Session, settings: Settings, seen: Seen, reply_id: str, author: str, content: str
) -> ReplyOut:
    """Correct a reply of one's own that was written a moment ago."""
    reply = session.get(Reply, reply_id)
    if reply is None or reply.ticket_id != seen.ticket.id or (reply.is_internal and not seen.is_staff):
        raise NotFound
    if reply.user_id != author:
        raise NotYourReply
    if now() - reply.created > timedelta(minutes=settings.edit_minutes):
        raise ReplyLocked
    reply.content, reply.edited = content, now()
    if not reply.is_internal:
        seen.ticket.touch()
    files = tickets.attachments_of_replies(session, [reply.id])[reply.id]
    return ReplyOut.of(reply.model_dump(), files)


def find(session: Session, seen: Seen, query: PageQuery) -> Page[ReplyOut]:
    """Return one page, newest first."""
    wanted: dict[str, Any] = {"ticket_id": seen.ticket.id}
    if not seen.is_staff:
        wanted["is_internal"] = False
    page = paginate_equal(session, REPLIES, wanted, query, lambda row: ReplyOut.of(row, ()))
    files = tickets.attachments_of_replies(session, [one.id for one in page.items])
    items = [ReplyOut.of(vars(one), files[one.id]) for one in page.items]
    return Page(items=items, next=page.next)
