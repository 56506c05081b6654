"""Who is notified of tickets and reviews, and of what.

The events of the support service hold no text that people wrote, so no notification and no mail does either.
Nobody is notified of what they did themselves. Internal notes emit no event.
"""

from collections.abc import Iterator, Sequence

from sqlalchemy import delete, or_, select
from sqlmodel import Session

from contracts.support import (
    ReviewModerated,
    StaffChanged,
    TicketChanged,
    TicketOpened,
    TicketOverdue,
    TicketReplied,
    TicketState,
)
from services.notifications import notices
from services.notifications.kinds import NoticeType, Severity
from services.notifications.models import RECIPIENTS, SUPPORT_STAFF
from services.notifications.notices import Notice
from shared.clock import now
from shared.data.database import insert_into

STAFF_MAX = 200  # support has as many besides the admins

_STEPS = {
    "open": ("was opened again", Severity.INFO),
    "in_progress": ("is being worked on", Severity.INFO),
    "waiting": ("waits for you", Severity.WARNING),
    "resolved": ("was resolved", Severity.SUCCESS),
    "closed": ("was closed", Severity.INFO),
}
_SOLVED = ("resolved", "closed")
_DUE = {
    "first_reply": "The time for the first reply has passed.",
    "resolve": "The time for the solution has passed.",
}
_HIDDEN = "Your review was hidden"
_DECISIONS = {
    "approved": ("Your review was published", "Everyone can see it now.", Severity.SUCCESS),
    "rejected": (
        "Your review was rejected",
        "It is not shown. Its details name the reason.",
        Severity.WARNING,
    ),
    "hidden": (_HIDDEN, "A moderator has hidden it. Its details name the reason.", Severity.WARNING),
}
_REPORTED = "People have reported it, so it is hidden until a moderator has looked at it."


def of_opened_ticket(session: Session, event: TicketOpened) -> Iterator[Notice]:
    """Notify staff of a new ticket."""
    title = f"New ticket {event.number}"
    yield from _to_staff(session, event, NoticeType.TICKET_OPENED, title, _state(event), by=event.user_id)


def of_replied_ticket(session: Session, event: TicketReplied) -> Iterator[Notice]:
    """Notify the owner of a reply of staff, and staff of a reply of the owner."""
    if not event.by_staff:
        title = f"New reply to ticket {event.number}"
        kind = NoticeType.TICKET_REPLIED
        yield from _to_staff(session, event, kind, title, _state(event), by=event.author_id)
    elif event.author_id != event.user_id:
        title, content = f"Support replied to your ticket {event.number}", "Read the reply and answer there."
        yield Notice(event.user_id, NoticeType.TICKET_REPLIED, title, content, Severity.INFO, _data(event))


def of_changed_ticket(session: Session, event: TicketChanged) -> Iterator[Notice]:
    """Notify the owner of a step that staff took, and staff if the owner opens a solved ticket again."""
    if event.status == event.status_before or event.by is None:
        return
    if event.by != event.user_id:
        step, severity = _STEPS.get(event.status, (f"is {event.status}", Severity.INFO))
        title = f"Your ticket {event.number} {step}"
        content = f"Support changed its status: {_words(event.status_before)} → {_words(event.status)}."
        yield Notice(event.user_id, NoticeType.TICKET_CHANGED, title, content, severity, _data(event))
    elif event.status_before in _SOLVED and event.status not in _SOLVED:
        title = f"Ticket {event.number} was opened again"
        yield from _to_staff(session, event, NoticeType.TICKET_CHANGED, title, _state(event), by=event.by)


def of_overdue_ticket(session: Session, event: TicketOverdue) -> Iterator[Notice]:
    """Notify staff of a due time that has passed."""
    title, content = f"Ticket {event.number} is overdue", f"{_DUE.get(event.due, '')} {_state(event)}".strip()
    yield from _to_staff(session, event, NoticeType.TICKET_OVERDUE, title, content, Severity.WARNING)


def of_moderated_review(_: Session, event: ReviewModerated) -> Iterator[Notice]:
    """Notify the author of a decision about a review, but not if it was approved at once."""
    is_own = event.by == event.user_id or (event.by is None and event.status == "approved")
    if is_own or event.status not in _DECISIONS:
        return
    title, content, severity = _DECISIONS[event.status]
    if event.by is None and event.status == "hidden":
        content = _REPORTED
    data = {"review_id": event.review_id, "resource_id": event.resource_id, "status": event.status}
    yield Notice(event.user_id, NoticeType.REVIEW_MODERATED, title, content, severity, data)


def keep_staff(session: Session, events: Sequence[StaffChanged]) -> None:
    """Store which accounts are support staff without being admins; leave out deleted accounts."""
    newest = {event.user_id: event.is_staff for event in events}
    gone = notices.deleted(session, newest)
    added = [
        {"user_id": one, "since": now()} for one, is_staff in newest.items() if is_staff and one not in gone
    ]
    execute = session.connection().execute
    if added:
        execute(insert_into(session, SUPPORT_STAFF).values(added).on_conflict_do_nothing())
    ended = [one for one, is_staff in newest.items() if not is_staff]
    execute(delete(SUPPORT_STAFF).where(SUPPORT_STAFF.c.user_id.in_(ended)))


def staff(session: Session) -> list[str]:
    """Return the ids of active support staff, admins included, as far as this service knows them.

    Staff whose account it does not know yet count as active.
    """
    known = SUPPORT_STAFF.outerjoin(RECIPIENTS, SUPPORT_STAFF.c.user_id == RECIPIENTS.c.user_id)
    active = or_(RECIPIENTS.c.status.is_(None), RECIPIENTS.c.status == "active")
    found = select(SUPPORT_STAFF.c.user_id).select_from(known).where(active)
    some = found.order_by(SUPPORT_STAFF.c.user_id).limit(STAFF_MAX)
    others = session.connection().execute(some).scalars()
    return sorted({*notices.admins(session), *others})


def _to_staff(
    session: Session,
    event: TicketState,
    kind: NoticeType,
    title: str,
    content: str,
    severity: Severity = Severity.INFO,
    *,
    by: str | None = None,
) -> Iterator[Notice]:
    """Notify the person to whom the ticket is assigned, or else all staff; never who caused it."""
    assigned = event.assigned_to
    people = [assigned] if assigned is not None and _may_be_staff(session, assigned) else staff(session)
    for user_id in people:
        if user_id != by:
            yield Notice(user_id, kind, title, content, severity, _data(event))


def _may_be_staff(session: Session, user_id: str) -> bool:
    """Return False for a known account that is no longer staff. Its tickets stay assigned to it."""
    columns = select(RECIPIENTS.c.role, RECIPIENTS.c.status).where(RECIPIENTS.c.user_id == user_id)
    known = session.connection().execute(columns).one_or_none()
    if known is None or (known.status == "active" and known.role == "admin"):
        return True
    hired = select(SUPPORT_STAFF.c.user_id).where(SUPPORT_STAFF.c.user_id == user_id)
    return known.status == "active" and session.connection().execute(hired).first() is not None


def _state(event: TicketState) -> str:
    return f"Its priority is {event.priority}, its status {_words(event.status)}."


def _data(event: TicketState) -> dict[str, str]:
    return {"ticket_id": event.ticket_id, "number": event.number, "status": event.status}


def _words(status: str) -> str:
    return status.replace("_", " ")
