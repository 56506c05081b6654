"""Who may see and do what: the owner of a ticket, support staff, and nobody else."""

from dataclasses import dataclass

from sqlmodel import Session

from services.support.errors import StaffOnly
from services.support.models import Staff, Ticket
from shared.caller import Caller
from shared.errors import NotFound

ADMINISTER = "admin:support"


@dataclass(frozen=True, slots=True)
class Seen:
    """A ticket that the caller may see, and in which role."""

    ticket: Ticket
    is_staff: bool
    is_owner: bool


def is_staff(session: Session, caller: Caller | None) -> bool:
    """Whether the caller is an admin or was made staff; a limited token also needs `admin:support`."""
    if caller is None:
        return False
    return caller.is_admin or (caller.may(ADMINISTER) and session.get(Staff, caller.id) is not None)


def require_staff(session: Session, caller: Caller) -> None:
    if not is_staff(session, caller):
        raise StaffOnly


def find(session: Session, caller: Caller, ticket_id: str, *, lock: bool = False) -> Seen:
    """Return a ticket of the caller; staff see all."""
    ticket = session.get(Ticket, ticket_id, with_for_update=lock)
    if ticket is None:
        raise NotFound
    is_owner, by_staff = ticket.user_id == caller.id, is_staff(session, caller)
    if not (is_owner or by_staff):
        raise NotFound
    return Seen(ticket, by_staff, is_owner)
