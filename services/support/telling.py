"""The events that the support service emits."""

from sqlmodel import Session

from contracts.support import (
    ReviewDeleted,
    ReviewModerated,
    ReviewWritten,
    StaffChanged,
    TicketChanged,
    TicketDeleted,
    TicketOpened,
    TicketOverdue,
    TicketReplied,
)
from services.support.models import Reply, Review, Ticket
from shared.events import emit


def tell_opened(session: Session, ticket: Ticket) -> None:
    emit(session, TicketOpened(ticket_id=ticket.id, **ticket.model_dump()))


def tell_changed(session: Session, ticket: Ticket, status_before: str, by: str) -> None:
    state = ticket.model_dump()
    emit(session, TicketChanged(ticket_id=ticket.id, status_before=status_before, by=by, **state))


def tell_replied(session: Session, ticket: Ticket, reply: Reply, status_before: str) -> None:
    emit(
        session,
        TicketReplied(
            ticket_id=ticket.id,
            reply_id=reply.id,
            author_id=reply.user_id,
            by_staff=reply.is_staff,
            status_before=status_before,
            **ticket.model_dump(),
        ),
    )


def tell_overdue(session: Session, ticket: Ticket, due: str) -> None:
    emit(session, TicketOverdue(ticket_id=ticket.id, due=due, **ticket.model_dump()))


def tell_deleted(session: Session, ticket: Ticket) -> None:
    emit(session, TicketDeleted(ticket_id=ticket.id, user_id=ticket.user_id))


def tell_staff(session: Session, user_id: str, *, is_staff: bool) -> None:
    emit(session, StaffChanged(user_id=user_id, is_staff=is_staff))


def tell_written(session: Session, review: Review) -> None:
    emit(session, ReviewWritten(review_id=review.id, **review.model_dump()))


def tell_moderated(session: Session, review: Review, status_before: str, by: str | None) -> None:
    state = review.model_dump()
    emit(session, ReviewModerated(review_id=review.id, status_before=status_before, by=by, **state))


def tell_review_deleted(session: Session, review: Review) -> None:
    emit(session, ReviewDeleted(review_id=review.id, **review.model_dump()))
