"""Changes of tickets, each within the caller's transaction."""

import json
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import delete as delete_from
from sqlalchemy import func, insert, select
from sqlmodel import Session

from services.support import daily, due
from services.support.desk import Seen
from services.support.errors import (
    ClosedForGood,
    OwnerOnly,
    ReopenedTooOften,
    StaffOnly,
    TicketLocked,
    TooManyOpenTickets,
)
from services.support.models import ATTACHMENTS, NUMBERS, TICKET_TAGS, TICKETS, Attachment, Ticket, TicketStep
from services.support.peers import Account, FoundFiles
from services.support.schemas import CreateTicket
from services.support.settings import Settings
from services.support.staff import require_assignable
from services.support.states import SOLVED, UNSOLVED, Status, require_step
from services.support.telling import tell_changed, tell_deleted, tell_opened
from shared.clock import now
from shared.data.database import insert_into
from shared.lists.pagination import rows_of

REOPENED_MAX = 20  # by its owner; so the steps of a ticket come to an end
OWNERS_FIELDS = frozenset(("subject", "description"))


def open_ticket(
    session: Session, settings: Settings, owner: str, body: CreateTicket, files: FoundFiles
) -> Ticket:
    """Create a ticket with the next number of the year."""
    moment = now()
    number = _next_number(session, moment.year)  # first: it makes those who count their tickets wait
    _require_room(session, settings, owner)
    ticket = Ticket(
        number=f"{moment.year}-{number:06}",
        user_id=owner,
        created=moment,
        updated=moment,
        first_reply_due=moment,
        resolve_due=moment,
        **body.model_dump(exclude={"attachments"}),
    )
    due.set_due(ticket, settings)
    due.watch(ticket, moment)
    ticket.touch()
    ticket.version = 1
    session.add(ticket)
    session.flush()
    session.add(TicketStep(ticket_id=ticket.id, status=ticket.status, by=owner))
    attach(session, ticket.id, None, owner, files)
    tell_opened(session, ticket)
    return ticket


def _next_number(session: Session, year: int) -> int:
    adding = insert_into(session, NUMBERS).values(year=year, last=1)
    counting = adding.on_conflict_do_update(index_elements=["year"], set_={"last": NUMBERS.c.last + 1})
    return int(session.connection().execute(counting.returning(NUMBERS.c.last)).scalar_one())


def _require_room(session: Session, settings: Settings, owner: str) -> None:
    # Counting locks a row of the account, so that its tickets that are opened at once are all counted.
    daily.take(session, owner, daily.TICKETS, settings.tickets_daily)
    mine = select(TICKETS.c.id).where(TICKETS.c.user_id == owner, TICKETS.c.status.in_(UNSOLVED))
    unsolved = select(func.count()).select_from(mine.limit(settings.open_tickets_max).subquery())
    if session.connection().execute(unsolved).scalar_one() >= settings.open_tickets_max:
        raise TooManyOpenTickets


def attach(session: Session, ticket_id: str, reply_id: str | None, author: str, found: FoundFiles) -> None:
    for file in found.files:
        session.add(
            Attachment(
                ticket_id=ticket_id,
                reply_id=reply_id,
                user_id=author,
                file_id=file.file_id,
                name=file.name,
                size=file.size,
                mime_type=file.mime_type,
            )
        )


def attachments_of(session: Session, ticket_id: str) -> list[dict[str, Any]]:
    """Return the files of the ticket itself, in the order in which they were attached."""
    mine = select(ATTACHMENTS).where(ATTACHMENTS.c.ticket_id == ticket_id, ATTACHMENTS.c.reply_id.is_(None))
    return [row._asdict() for row in session.connection().execute(mine.order_by(ATTACHMENTS.c.id))]


def attachments_of_replies(session: Session, reply_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the files of each reply."""
    found: dict[str, list[dict[str, Any]]] = {reply_id: [] for reply_id in reply_ids}
    if found:
        wanted = select(ATTACHMENTS).where(ATTACHMENTS.c.reply_id.in_(reply_ids))
        for row in sorted(rows_of(session, wanted), key=lambda one: str(one["id"])):
            found[row["reply_id"]].append(row)
    return found


def change(session: Session, settings: Settings, seen: Seen, changes: dict[str, Any], *, by: str) -> None:
    """Change the subject and the description (its owner), the tags (staff), or the other fields (both)."""
    ticket = seen.ticket
    _require_changeable(seen, changes.keys())
    if "tags" in changes:
        set_tags(session, ticket, changes.pop("tags"))
    if "priority" in changes:
        due.change_priority(ticket, changes["priority"], settings, now())
        due.watch(ticket, now())
    for name, value in changes.items():
        setattr(ticket, name, value)
    ticket.touch()
    tell_changed(session, ticket, ticket.status, by)


def _require_changeable(seen: Seen, fields: Collection[str]) -> None:
    status, of_owner = seen.ticket.status, OWNERS_FIELDS.intersection(fields)
    if "tags" in fields and not seen.is_staff:
        raise StaffOnly("Only support staff may tag tickets.")
    if of_owner and not seen.is_owner:
        raise OwnerOnly("Only the owner may change the subject and the description.")
    is_by_staff = seen.is_staff and not of_owner
    if set(fields) != {"tags"} and (status == Status.CLOSED or (status != Status.OPEN and not is_by_staff)):
        raise TicketLocked(status_now=status)


def set_tags(session: Session, ticket: Ticket, tags: Sequence[str]) -> None:
    """Replace the tags of a ticket, in the ticket itself and in the rows along which tickets are found."""
    wanted = sorted(set(tags))
    execute = session.connection().execute
    execute(delete_from(TICKET_TAGS).where(TICKET_TAGS.c.id == ticket.id))
    if wanted:
        execute(insert(TICKET_TAGS), [{"tag": tag, "id": ticket.id} for tag in wanted])
    ticket.tags = json.dumps(wanted)


def delete(session: Session, seen: Seen) -> None:
    ticket = seen.ticket
    if ticket.status != Status.OPEN or ticket.first_replied is not None:
        raise TicketLocked(status_now=ticket.status)
    session.delete(ticket)
    tell_deleted(session, ticket)


def assign(session: Session, ticket: Ticket, assigned_to: str | None, account: Account, *, by: str) -> None:
    if assigned_to is not None:
        require_assignable(session, account)
    ticket.assigned_to = assigned_to
    ticket.touch()
    tell_changed(session, ticket, ticket.status, by)


def take_step(
    session: Session, settings: Settings, seen: Seen, to: Status, *, by: str, reason: str | None = None
) -> None:
    """Take one step, or refuse it and name those that are allowed."""
    ticket, before = seen.ticket, seen.ticket.status
    require_step(before, to, by_staff=seen.is_staff)
    require_reopenable(session, settings, ticket, to, by_staff=seen.is_staff)
    move(session, settings, ticket, to, by=by, reason=reason)
    ticket.touch()
    tell_changed(session, ticket, before, by)


def require_reopenable(
    session: Session, settings: Settings, ticket: Ticket, to: Status, *, by_staff: bool
) -> None:
    """Refuse to open an old ticket again. For its owner, this counts like a new ticket and is limited."""
    solved = ticket.resolved
    if solved is None or to in SOLVED:
        return
    if now() - solved > timedelta(days=settings.reopen_days):
        raise ClosedForGood
    if by_staff:
        return
    if ticket.reopened_count >= REOPENED_MAX:
        raise ReopenedTooOften
    _require_room(session, settings, ticket.user_id)


def move(
    session: Session, settings: Settings, ticket: Ticket, to: Status, *, by: str, reason: str | None = None
) -> None:
    """Set the status, and note it in the history."""
    before, moment = ticket.status, now()
    session.add(TicketStep(ticket_id=ticket.id, from_status=before, status=to, by=by, reason=reason))
    ticket.status = to
    due.follow_status(ticket, before, settings, moment)
    due.watch(ticket, moment)
