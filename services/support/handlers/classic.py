"""Handlers of tickets and reviews in the older form; they do what the handlers of the native form do."""

from collections.abc import Mapping
from decimal import Decimal

from sqlmodel import Session
from starlette.requests import Request

from services.support import desk, ratings, replies, reviews, tickets
from services.support.classic.schemas import (
    ChangeOldTicket,
    NamedReply,
    NamedTicket,
    NewAssignee,
    NewReply,
    NewStatus,
    NewTicket,
    OldReply,
    OldReview,
    OldTicket,
    OwnTicketsByNumber,
    ReviewPage,
    ReviewsByNumber,
    TicketPage,
    TicketsByNumber,
    TicketWithReplies,
)
from services.support.errors import NotBought, OwnerOnly, StaffOnly
from services.support.models import REVIEWS, TICKETS
from services.support.peers import (
    Account,
    Accounts,
    FoundFiles,
    Orders,
    Purchase,
    find_account,
    find_purchase,
)
from services.support.review_schemas import ChangeReview, WriteReview, key_of
from services.support.schemas import CreateTicket, WriteReply
from services.support.settings import Settings
from services.support.states import ReviewStatus, Status
from shared.caller import Caller
from shared.errors import NotFound
from shared.http.schemas import Done, Id
from shared.lists.numbered import page_of
from shared.lists.pagination import PageQuery

REPLIES_SHOWN = 100


def create_classic_ticket(
    body: NewTicket, caller: Caller, session: Session, settings: Settings
) -> NamedTicket:
    """Create a ticket."""
    native = CreateTicket(**{**body.model_dump(), "category": body.category or None})
    ticket = tickets.open_ticket(session, settings, caller.id, native, FoundFiles())
    return NamedTicket(ticket=OldTicket.of(ticket.model_dump()))


def list_classic_tickets(query: TicketsByNumber, caller: Caller, session: Session) -> TicketPage:
    """List everybody's tickets, newest first; for staff."""
    desk.require_staff(session, caller)
    priority = {} if query.priority is None else {"priority": str(query.priority)}
    return _tickets(session, query, priority)


def list_own_classic_tickets(query: OwnTicketsByNumber, caller: Caller, session: Session) -> TicketPage:
    """List your tickets, newest first."""
    return _tickets(session, query, {"user_id": caller.id})


def _tickets(session: Session, query: OwnTicketsByNumber, scope: Mapping[str, str]) -> TicketPage:
    # Tickets that wait for their owner are shown as in progress.
    states = [] if query.status is None else [Status(query.status)]
    if states == [Status.IN_PROGRESS]:
        states.append(Status.WAITING)
    scopes = [{**scope, "status": str(state)} for state in states] or [{**scope}]
    rows, total = page_of(session, TICKETS, scopes, query)
    return TicketPage(tickets=[OldTicket.of(row) for row in rows], **query.described(total))


def show_classic_ticket(ticket_id: Id, caller: Caller, session: Session) -> TicketWithReplies:
    """Show one ticket with its newest 100 replies, without internal notes."""
    seen = desk.find(session, caller, ticket_id)
    public = desk.Seen(seen.ticket, is_staff=False, is_owner=seen.is_owner)
    newest = replies.find(session, public, PageQuery(limit=REPLIES_SHOWN)).items
    return TicketWithReplies(
        ticket=OldTicket.of(seen.ticket.model_dump()),
        replies=[OldReply.of(vars(one)) for one in reversed(newest)],
    )


def change_classic_ticket(
    ticket_id: Id, body: ChangeOldTicket, caller: Caller, session: Session, settings: Settings
) -> NamedTicket:
    """Change a ticket of yours while it is open."""
    seen = _owned(session, caller, ticket_id)
    tickets.change(session, settings, seen, body.changes(), by=caller.id)
    return NamedTicket(ticket=OldTicket.of(seen.ticket.model_dump()))


def delete_classic_ticket(ticket_id: Id, caller: Caller, session: Session) -> Done:
    """Delete a ticket of yours that is open and has no reply of staff."""
    tickets.delete(session, _owned(session, caller, ticket_id))
    return Done()


def _owned(session: Session, caller: Caller, ticket_id: str) -> desk.Seen:
    seen = desk.find(session, caller, ticket_id, lock=True)
    if not seen.is_owner:
        raise OwnerOnly
    return seen


def reply_to_classic_ticket(
    ticket_id: Id, body: NewReply, caller: Caller, session: Session, settings: Settings
) -> NamedReply:
    """Reply to a ticket."""
    seen = desk.find(session, caller, ticket_id, lock=True)
    native = WriteReply(content=body.content)
    written = replies.write(session, settings, seen, caller.id, native, FoundFiles())
    return NamedReply(reply=OldReply.of(vars(written)))


def change_classic_status(
    ticket_id: Id, body: NewStatus, caller: Caller, session: Session, settings: Settings
) -> NamedTicket:
    """Set the status of a ticket; for staff."""
    seen = _for_staff(session, caller, ticket_id)
    tickets.take_step(session, settings, seen, Status(body.status), by=caller.id)
    return NamedTicket(ticket=OldTicket.of(seen.ticket.model_dump()))


async def find_classic_assignee(body: NewAssignee, accounts: Accounts) -> Account:
    return await find_account(accounts, body.assigned_to)


def assign_classic_ticket(
    ticket_id: Id, body: NewAssignee, assignee: Account, caller: Caller, session: Session
) -> NamedTicket:
    """Assign a ticket to one of the staff; for staff."""
    seen = _for_staff(session, caller, ticket_id)
    tickets.assign(session, seen.ticket, body.assigned_to, assignee, by=caller.id)
    return NamedTicket(ticket=OldTicket.of(seen.ticket.model_dump()))


def _for_staff(session: Session, caller: Caller, ticket_id: str) -> desk.Seen:
    seen = desk.find(session, caller, ticket_id, lock=True)
    if not seen.is_staff:
        raise StaffOnly
    return seen


def list_classic_reviews(query: ReviewsByNumber, session: Session) -> ReviewPage:
    """List the approved reviews of a thing, newest first."""
    key = key_of(query.resource_type, query.resource_id)
    scope = {**key._asdict(), "status": str(ReviewStatus.APPROVED)}
    rows, total = page_of(session, REVIEWS, [scope], query)
    average = ratings.show(session, key).average
    return ReviewPage(
        reviews=[OldReview.of(row) for row in rows],
        average_rating=Decimal(0) if average is None else average,
        **query.described(total),
    )


def show_classic_review(review_id: Id, caller: Caller | None, session: Session) -> OldReview:
    """Show one review."""
    return OldReview.of(reviews.find(session, caller, review_id).model_dump())


async def find_classic_order(body: WriteReview, request: Request, caller: Caller, orders: Orders) -> Purchase:
    return await find_purchase(body.key, request, caller, orders)


def write_classic_review(
    body: WriteReview, purchase: Purchase, caller: Caller, session: Session, settings: Settings
) -> OldReview:
    """Review a product that you have bought, or something else."""
    if not purchase.is_made:
        raise NotBought
    return OldReview.of(reviews.write(session, settings, caller.id, body).model_dump())


def change_classic_review(
    review_id: Id, body: ChangeReview, caller: Caller, session: Session, settings: Settings
) -> OldReview:
    """Change a review of yours."""
    review = reviews.find(session, caller, review_id, lock=True)
    if review.user_id != caller.id:
        raise NotFound
    reviews.change(session, settings, review, body)
    return OldReview.of(review.model_dump())


def delete_classic_review(review_id: Id, caller: Caller, session: Session, settings: Settings) -> Done:
    """Delete a review of yours."""
    review = reviews.find(session, caller, review_id, lock=True)
    if review.user_id != caller.id:
        raise NotFound
    reviews.remove_own(session, settings, review)
    return Done()
