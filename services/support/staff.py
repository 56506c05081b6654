"""Support staff, and the numbers that they watch."""

from datetime import timedelta
from statistics import median_low
from typing import Any

from sqlalchemy import ColumnElement, delete, func, select
from sqlmodel import Session

from services.support.errors import TooManyStaff
from services.support.models import STAFF, TICKETS, Staff
from services.support.peers import Account
from services.support.schemas import StatsOut
from services.support.states import UNSOLVED, Priority
from services.support.telling import tell_staff
from shared.errors import FieldFault, Invalid, NotFound
from shared.lists.pagination import rows_of

STAFF_MAX = 200
COUNTED_TO = 1000
SAMPLE = 1000
ACTIVE = "active"


def require_assignable(session: Session, account: Account) -> None:
    """Refuse to assign tickets to anybody but active staff."""
    is_staff = account.user_id is not None and (
        account.role == "admin" or session.get(Staff, account.user_id) is not None
    )
    if account.status != ACTIVE or not is_staff:
        message = "must be the id of an active account that is support staff"
        raise Invalid(errors=[FieldFault(field="assigned_to", code="not_staff", message=message)])


def add(session: Session, user_id: str, account: Account, by: str) -> Staff:
    if account.user_id is None or account.status != ACTIVE:
        raise NotFound("There is no active account with this id.")
    known = session.get(Staff, user_id)
    if known is not None:
        return known
    if session.connection().execute(select(func.count()).select_from(STAFF)).scalar_one() >= STAFF_MAX:
        raise TooManyStaff
    added = Staff(user_id=user_id, added_by=by)
    session.add(added)
    tell_staff(session, user_id, is_staff=True)
    return added


def remove(session: Session, user_id: str) -> None:
    """Make someone an ordinary account again; their tickets stay assigned to them."""
    removing = delete(STAFF).where(STAFF.c.user_id == user_id).returning(STAFF.c.user_id)
    if session.connection().execute(removing).first() is None:
        raise NotFound
    tell_staff(session, user_id, is_staff=False)


def everybody(session: Session) -> list[dict[str, Any]]:
    return rows_of(session, select(STAFF).order_by(STAFF.c.user_id).limit(STAFF_MAX))


def stats(session: Session) -> StatsOut:
    """Count along indexes, each number up to a limit, so that no count reads the whole table."""
    unsolved: dict[str, dict[str, int]] = {}
    for status in UNSOLVED:
        by_priority = {
            str(one): _count(session, TICKETS.c.status == status, TICKETS.c.priority == one)
            for one in Priority
        }
        unsolved[str(status)] = {name: number for name, number in by_priority.items() if number}
    sample = select(TICKETS.c.created, TICKETS.c.first_replied, TICKETS.c.satisfaction)
    newest = session.connection().execute(sample.order_by(TICKETS.c.id.desc()).limit(SAMPLE)).all()
    waits = [row.first_replied - row.created for row in newest if row.first_replied is not None]
    ratings = [row.satisfaction for row in newest if row.satisfaction is not None]
    return StatsOut(
        unsolved=unsolved,
        overdue=_count(session, TICKETS.c.is_overdue),
        unassigned=sum(
            _count(session, TICKETS.c.assigned_to.is_(None), TICKETS.c.status == one) for one in UNSOLVED
        ),
        counted_to=COUNTED_TO,
        sample=len(newest),
        median_first_reply_seconds=median_low(waits) // timedelta(seconds=1) if waits else None,
        satisfaction_count=len(ratings),
        satisfaction_sum=sum(ratings),
    )


def _count(session: Session, *conditions: ColumnElement[bool]) -> int:
    some = select(TICKETS.c.id).where(*conditions).limit(COUNTED_TO).subquery()
    return int(session.connection().execute(select(func.count()).select_from(some)).scalar_one())
