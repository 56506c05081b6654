"""How the support service handles the events of other services, and what it stores about a person."""

from collections.abc import Sequence

from sqlalchemy import delete, false, select, update
from sqlmodel import Session

from contracts.events import AccountDeleted
from contracts.exports import exporting, section, table_section
from services.support import reviews
from services.support.models import (
    ATTACHMENTS,
    DAILY,
    REPLIES,
    REPORTS,
    REVIEWS,
    STAFF,
    STEPS_TAKEN,
    TICKETS,
    VOTES,
    WORK,
)
from shared.events import Consumers
from shared.work.jobs import Jobs

_NOT_PERSONAL = ("user_id", "search", "note_count", "tags", "watch_at", "first_reply_told", "resolve_told")


def forget_people(session: Session, events: Sequence[AccountDeleted]) -> None:
    """Delete the tickets and reviews of deleted accounts; the replies of former staff to others stay."""
    gone = [event.account_id for event in events]
    execute = session.connection().execute
    execute(delete(TICKETS).where(TICKETS.c.user_id.in_(gone)))
    execute(update(TICKETS).where(TICKETS.c.assigned_to.in_(gone)).values(assigned_to=None))
    reviews.forget(session, gone)
    execute(delete(STAFF).where(STAFF.c.user_id.in_(gone)))
    execute(delete(DAILY).where(DAILY.c.user_id.in_(gone)))
    jobs = Jobs(WORK, {})
    for account_id in gone:
        jobs.forget(session, account_id)


EXPORTED = [
    table_section("tickets", TICKETS, "user_id", without=_NOT_PERSONAL),
    section(
        "ticket_replies",
        select(REPLIES).join(TICKETS).where(REPLIES.c.is_internal == false()),
        TICKETS.c.user_id,
        REPLIES.c.id,
        without=("is_internal",),
    ),
    section("ticket_history", select(STEPS_TAKEN).join(TICKETS), TICKETS.c.user_id, STEPS_TAKEN.c.id),
    table_section("ticket_attachments", ATTACHMENTS, "user_id", without=("user_id",)),
    table_section("reviews", REVIEWS, "user_id", without=("user_id", "moderated_by", "report_count")),
    table_section("review_votes", VOTES, "user_id", key="review_id", without=("user_id",)),
    table_section("review_reports", REPORTS, "user_id", key="review_id", without=("user_id", "is_settled")),
]
CONSUMES: Consumers = {AccountDeleted: forget_people, **exporting("support", EXPORTED)}
