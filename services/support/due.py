"""When a ticket has to be answered and solved, and whether that time has passed.

Times are counted in the hours in which staff work. While a ticket waits for its owner, the time until its
solution stands still. The time until the first reply goes on: only a reply of staff ends it.
"""

from datetime import datetime

from services.support.models import Ticket
from services.support.settings import Settings
from services.support.states import SOLVED, Status

FIRST_REPLY, RESOLVE = "first_reply", "resolve"


def set_due(ticket: Ticket, settings: Settings) -> None:
    """Set the due times of a new ticket."""
    first, solution = settings.due_times(ticket.priority)
    ticket.first_reply_due = settings.hours.shift(ticket.created, first)
    ticket.resolve_due = settings.hours.shift(ticket.created, solution)


def change_priority(ticket: Ticket, priority: str, settings: Settings, moment: datetime) -> None:
    """Move the due times by the difference between the two priorities."""
    before, after = settings.due_times(ticket.priority), settings.due_times(priority)
    ticket.priority = priority
    ticket.first_reply_due = settings.hours.shift(ticket.first_reply_due, after[0] - before[0])
    ticket.resolve_due = settings.hours.shift(ticket.resolve_due, after[1] - before[1])
    stands = _stands(ticket, moment)
    ticket.first_reply_told = ticket.first_reply_told and ticket.first_reply_due <= stands[FIRST_REPLY]
    ticket.resolve_told = ticket.resolve_told and ticket.resolve_due <= stands[RESOLVE]


def follow_status(ticket: Ticket, before: str, settings: Settings, moment: datetime) -> None:
    """Stop or continue the time, and note when the ticket was solved."""
    status = ticket.status
    if ticket.waiting_since is not None and status != Status.WAITING:
        waited = settings.hours.between(ticket.waiting_since, moment)
        ticket.resolve_due = settings.hours.shift(ticket.resolve_due, waited)
        ticket.waiting_since = None
    if status == Status.WAITING:
        ticket.waiting_since = ticket.waiting_since or moment
    if status in SOLVED:
        ticket.resolved = ticket.resolved or moment
        ticket.closed = moment if status == Status.CLOSED else None
    elif before in SOLVED:
        ticket.resolved = ticket.closed = ticket.satisfaction = None
        ticket.reopened_count += 1
        first, solution = settings.due_times(ticket.priority)
        ticket.resolve_due, ticket.resolve_told = settings.hours.shift(moment, solution), False
        if ticket.first_replied is None:
            ticket.first_reply_due = settings.hours.shift(moment, first)
            ticket.first_reply_told = False


def _stands(ticket: Ticket, moment: datetime) -> dict[str, datetime]:
    """Return what each due time is compared with: now, or for the solution, when the ticket began to wait."""
    return {FIRST_REPLY: moment, RESOLVE: ticket.waiting_since or moment}


def watch(ticket: Ticket, moment: datetime) -> None:
    """Note whether the ticket is overdue, and when to look at it again."""
    dues, stands = pending(ticket), _stands(ticket, moment)
    ticket.is_overdue = any(due <= stands[name] for name, (due, _) in dues.items())
    is_stopped = {FIRST_REPLY: False, RESOLVE: ticket.waiting_since is not None}
    untold = [
        due
        for name, (due, is_told) in dues.items()
        if not is_told and (due <= stands[name] or not is_stopped[name])
    ]
    ticket.watch_at = min(untold, default=None)


def pending(ticket: Ticket) -> dict[str, tuple[datetime, bool]]:
    """Return the due times that still matter, and whether their passing has been reported."""
    dues: dict[str, tuple[datetime, bool]] = {}
    if ticket.status in SOLVED:
        return dues
    if ticket.first_replied is None:
        dues[FIRST_REPLY] = (ticket.first_reply_due, ticket.first_reply_told)
    dues[RESOLVE] = (ticket.resolve_due, ticket.resolve_told)
    return dues


def passed(ticket: Ticket, moment: datetime) -> list[str]:
    """Return the due times that have passed and were not reported yet, and mark them as reported."""
    stands = _stands(ticket, moment)
    newly = [name for name, (due, is_told) in pending(ticket).items() if due <= stands[name] and not is_told]
    ticket.first_reply_told |= FIRST_REPLY in newly
    ticket.resolve_told |= RESOLVE in newly
    watch(ticket, moment)
    return newly
