"""What the dashboard shows of tickets."""

from sqlalchemy import select

from contracts.summaries import Rows
from services.support.models import TICKETS
from services.support.states import Status


def rows_of(user_id: str | None) -> Rows:
    """Return what is counted: the tickets of a person, or all and those that are overdue."""
    mine = (
        select(TICKETS.c.id) if user_id is None else select(TICKETS.c.id).where(TICKETS.c.user_id == user_id)
    )
    states = (Status.OPEN, Status.IN_PROGRESS, Status.WAITING)
    counted = {"total": mine, **{str(one): mine.where(TICKETS.c.status == str(one)) for one in states}}
    return counted if user_id else {**counted, "overdue": mine.where(TICKETS.c.is_overdue)}
