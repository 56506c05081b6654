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
from services.notifications.languages import Term, Value
from services.notifications.models import RECIPIENTS, SUPPORT_STAFF
from services.notifications.notices import Notice
from services.notifications.wording import Phrase
from shared.clock import now
from shared.data.database import insert_into

STAFF_MAX = 200  # support has as many besides the admins

_SEVERITIES = {"waiting": Severity.WARNING, "resolved": Severity.SUCCESS}
_SOLVED = ("resolved", "closed")
_DECISIONS = {"approved": Severity.SUCCESS, "rejected": Severity.WARNING, "hidden": Severity.WARNING}


def of_opened_ticket(session: Session, event: TicketOpened) -> Iterator[Notice]:
    """Notify staff of a new ticket."""
    wording = Phrase("ticket_opened", _values(event))
    yield from _to_staff(session, event, NoticeType.TICKET_OPENED, wording, by=event.user_id)


def of_replied_ticket(session: Session, event: TicketReplied) -> Iterator[Notice]:
    """Notify the owner of a reply of staff, and staff of a reply of the owner."""
    if not event.by_staff:
        wording = Phrase("ticket_answered", _values(event))
        yield from _to_staff(session, event, NoticeType.TICKET_REPLIED, wording, by=event.author_id)
    elif event.author_id != event.user_id:
        wording = Phrase("ticket_replied", _values(event))
        yield Notice(event.user_id, NoticeType.TICKET_REPLIED, wording, Severity.INFO, _data(event))


def of_changed_ticket(session: Session, event: TicketChanged) -> Iterator[Notice]:
    """Notify the owner of a step that staff took, and staff if the owner opens a solved ticket again."""
    if event.status == event.status_before or event.by is None:
        return
    if event.by != event.user_id:
        values = {**_values(event), "step": event.status, "before": Term(event.status_before)}
        wording, severity = Phrase("ticket_changed", values), _SEVERITIES.get(event.status, Severity.INFO)
        yield Notice(event.user_id, NoticeType.TICKET_CHANGED, wording, severity, _data(event))
    elif event.status_before in _SOLVED and event.status not in _SOLVED:
        wording = Phrase("ticket_reopened", _values(event))
        yield from _to_staff(session, event, NoticeType.TICKET_CHANGED, wording, by=event.by)


def of_overdue_ticket(session: Session, event: TicketOverdue) -> Iterator[Notice]:
    """Notify staff of a due time that has passed."""
    wording = Phrase("ticket_overdue", {**_values(event), "due": event.due})
    yield from _to_staff(session, event, NoticeType.TICKET_OVERDUE, wording, Severity.WARNING)


def of_moderated_review(_: Session, event: ReviewModerated) -> Iterator[Notice]:
    """Notify the author of a decision about a review, but not if it was approved at once."""
    is_own = event.by == event.user_id or (event.by is None and event.status == "approved")
    if is_own or event.status not in _DECISIONS:
        return
    is_reported = event.by is None and event.status == "hidden"
    wording = Phrase("review_moderated", {"decision": "reported" if is_reported else event.status})
    data = {"review_id": event.review_id, "resource_id": event.resource_id, "status": event.status}
    yield Notice(event.user_id, NoticeType.REVIEW_MODERATED, wording, _DECISIONS[event.status], data)


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

    Staff whose account this service does not know yet count as active.
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
    wording: Phrase,
    severity: Severity = Severity.INFO,
    *,
    by: str | None = None,
) -> Iterator[Notice]:
    """Notify the person to whom the ticket is assigned, or else all staff; never who caused it."""
    assigned = event.assigned_to
    people = [assigned] if assigned is not None and _may_be_staff(session, assigned) else staff(session)
    for user_id in people:
        if user_id != by:
            yield Notice(user_id, kind, wording, severity, _data(event))


def _may_be_staff(session: Session, user_id: str) -> bool:
    """Return False for a known account that is no longer staff. Its tickets stay assigned to it."""
    columns = select(RECIPIENTS.c.role, RECIPIENTS.c.status).where(RECIPIENTS.c.user_id == user_id)
    known = session.connection().execute(columns).one_or_none()
    if known is None or (known.status == "active" and known.role == "admin"):
        return True
    hired = select(SUPPORT_STAFF.c.user_id).where(SUPPORT_STAFF.c.user_id == user_id)
    return known.status == "active" and session.connection().execute(hired).first() is not None


def _values(event: TicketState) -> dict[str, Value]:
    return {"number": event.number, "priority": Term(event.priority), "status": Term(event.status)}


def _data(event: TicketState) -> dict[str, str]:
    return {"ticket_id": event.ticket_id, "number": event.number, "status": event.status}
