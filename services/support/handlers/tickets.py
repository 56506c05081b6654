"""Handlers of tickets."""

from sqlalchemy import select
from sqlmodel import Session
from starlette.requests import Request

from services.support import desk, listing, tickets
from services.support.errors import NotSolved, OwnerOnly, StaffOnly
from services.support.models import STEPS_TAKEN, Ticket
from services.support.peers import Account, Accounts, Files, FoundFiles, find_account, find_files
from services.support.schemas import (
    Assign,
    AttachmentOut,
    ChangeStatus,
    ChangeTicket,
    CreateTicket,
    ListTickets,
    OwnTickets,
    RateTicket,
    StepOut,
    TicketOut,
    TicketWithFiles,
)
from services.support.settings import Settings
from services.support.states import SOLVED
from services.support.telling import tell_changed
from shared.caller import Caller
from shared.errors import NotFound
from shared.events import Trail
from shared.http.preconditions import IfMatch
from shared.http.schemas import Id, Page
from shared.lists.pagination import rows_of

STEPS_SHOWN = 200


async def find_attachments(body: CreateTicket, request: Request, caller: Caller, files: Files) -> FoundFiles:
    return await find_files(body.attachments, request, caller, files)


def create_ticket(
    body: CreateTicket, found: FoundFiles, caller: Caller, session: Session, settings: Settings
) -> TicketWithFiles:
    """Create a ticket. Attach files by their ids in the files service; they stay there, and stay yours."""
    found.require_all()
    ticket = tickets.open_ticket(session, settings, caller.id, body, found)
    return _shown(session, desk.Seen(ticket, desk.is_staff(session, caller), is_owner=True))


def list_tickets(query: ListTickets, caller: Caller, session: Session) -> Page[TicketOut]:
    """List your tickets, newest first; staff see everybody's."""
    by_staff = desk.is_staff(session, caller)
    if query.user_id not in (None, caller.id) and not by_staff:
        raise NotFound
    if query.tag is not None and not by_staff:
        raise StaffOnly("Only support staff see tags.")
    owner = query.user_id or (None if by_staff else caller.id)
    filters = {"user_id": owner, "assigned_to": query.assigned_to, "tag": query.tag, **_filters(query)}
    return listing.find(session, query, filters, for_staff=by_staff)


def list_own_tickets(query: OwnTickets, caller: Caller, session: Session) -> Page[TicketOut]:
    """List the tickets that you have created, newest first."""
    by_staff = desk.is_staff(session, caller)
    return listing.find(session, query, {"user_id": caller.id, **_filters(query)}, for_staff=by_staff)


def _filters(query: OwnTickets) -> dict[str, str | None]:
    return {name: getattr(query, name) for name in ("status", "priority", "category")}


def show_ticket(ticket_id: Id, caller: Caller, session: Session) -> TicketWithFiles:
    """Show one ticket; its replies are a list of their own."""
    return _shown(session, desk.find(session, caller, ticket_id))


def change_ticket(
    ticket_id: Id,
    body: ChangeTicket,
    caller: Caller,
    if_match: IfMatch,
    session: Session,
    settings: Settings,
    trail: Trail,
) -> TicketWithFiles:
    """Change a ticket: its owner while it is open; staff the priority and the category until it is closed.

    `tags` are for staff, in every state, and replace the ticket's tags.
    """
    seen = desk.find(session, caller, ticket_id, lock=True)
    ticket, changes = seen.ticket, body.changes()
    if_match.check(ticket.version)
    trail.add(fields=sorted(changes))
    tickets.change(session, settings, seen, changes, by=caller.id)
    return _shown(session, seen)


def delete_ticket(ticket_id: Id, caller: Caller, if_match: IfMatch, session: Session) -> None:
    """Delete a ticket of yours that is open and has no reply of staff."""
    seen = desk.find(session, caller, ticket_id, lock=True)
    if not seen.is_owner:
        raise OwnerOnly
    if_match.check(seen.ticket.version)
    tickets.delete(session, seen)


def change_ticket_status(
    ticket_id: Id,
    body: ChangeStatus,
    caller: Caller,
    if_match: IfMatch,
    session: Session,
    settings: Settings,
    trail: Trail,
) -> TicketWithFiles:
    """Take a ticket one step further; its owner may resolve, close and reopen it."""
    seen = desk.find(session, caller, ticket_id, lock=True)
    ticket, before = seen.ticket, seen.ticket.status
    if_match.check(ticket.version)
    tickets.take_step(session, settings, seen, body.status, by=caller.id, reason=body.reason)
    trail.add(status={"before": before, "after": ticket.status})
    return _shown(session, seen)


async def find_assignee(body: Assign, accounts: Accounts) -> Account:
    return Account(None) if body.assigned_to is None else await find_account(accounts, body.assigned_to)


def assign_ticket(
    ticket_id: Id,
    body: Assign,
    assignee: Account,
    caller: Caller,
    if_match: IfMatch,
    session: Session,
    trail: Trail,
) -> TicketWithFiles:
    """Assign a ticket to a member of staff, or unassign it."""
    seen = desk.find(session, caller, ticket_id, lock=True)
    if not seen.is_staff:
        raise StaffOnly
    if_match.check(seen.ticket.version)
    trail.add(assigned_to={"before": seen.ticket.assigned_to, "after": body.assigned_to})
    tickets.assign(session, seen.ticket, body.assigned_to, assignee, by=caller.id)
    return _shown(session, seen)


def rate_ticket(ticket_id: Id, body: RateTicket, caller: Caller, session: Session) -> TicketWithFiles:
    """Say how satisfied you are with the solution, from 1 to 5; the last rating counts."""
    seen = desk.find(session, caller, ticket_id, lock=True)
    if not seen.is_owner:
        raise OwnerOnly
    if seen.ticket.status not in SOLVED:
        raise NotSolved(status_now=seen.ticket.status)
    seen.ticket.satisfaction = body.rating
    seen.ticket.touch()
    tell_changed(session, seen.ticket, seen.ticket.status, caller.id)
    return _shown(session, seen)


def list_ticket_history(ticket_id: Id, caller: Caller, session: Session) -> list[StepOut]:
    """List the newest 200 states of a ticket, oldest first."""
    desk.find(session, caller, ticket_id)
    taken = select(STEPS_TAKEN).where(STEPS_TAKEN.c.ticket_id == ticket_id)
    newest = rows_of(session, taken.order_by(STEPS_TAKEN.c.id.desc()).limit(STEPS_SHOWN))
    return [StepOut.unchecked(row) for row in reversed(newest)]


def _shown(session: Session, seen: desk.Seen) -> TicketWithFiles:
    ticket: Ticket = seen.ticket
    session.flush()
    files = [AttachmentOut.unchecked(file) for file in tickets.attachments_of(session, ticket.id)]
    return TicketWithFiles.of(ticket.model_dump(), for_staff=seen.is_staff, attachments=files)
