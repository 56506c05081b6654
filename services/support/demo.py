"""The tickets and reviews of the demo company, dated over months. `gatehouse demo` runs this."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import ColumnElement, Table, select, update
from sqlmodel import Session

from services.support.models import REPLIES, REVIEWS, STEPS_TAKEN, TICKETS
from services.support.states import SOLVED
from shared.clock import now

TIMES = (
    "created updated timestamp first_reply_due resolve_due first_replied resolved closed moderated".split()
)


def move_back(session: Session, owners: Sequence[str], days: int) -> int:
    """Spread what these accounts wrote today over the last days; return the number of tickets and reviews.

    Unsolved tickets stay where they are, because an old one would be overdue.
    """
    tickets = _fresh(session, TICKETS, owners, TICKETS.c.status.in_(SOLVED))
    reviews = _fresh(session, REVIEWS, owners)
    for number, ticket_id in enumerate(tickets):
        by = _by(number, len(tickets), days)
        _move(session, TICKETS, TICKETS.c.id == ticket_id, by)
        _move(session, REPLIES, REPLIES.c.ticket_id == ticket_id, by)
        _move(session, STEPS_TAKEN, STEPS_TAKEN.c.ticket_id == ticket_id, by)
    for number, review_id in enumerate(reviews):
        _move(session, REVIEWS, REVIEWS.c.id == review_id, _by(number, len(reviews), days))
    return len(tickets) + len(reviews)


def _fresh(
    session: Session, table: Table, owners: Sequence[str], *conditions: ColumnElement[bool]
) -> Sequence[str]:
    today = table.c.created > now() - timedelta(days=1)
    wanted = select(table.c.id).where(table.c.user_id.in_(owners), today, *conditions).order_by(table.c.id)
    return session.connection().execute(wanted).scalars().all()


def _by(number: int, count: int, days: int) -> timedelta:
    return timedelta(days=days) * (count - number) / (count + 1)


def _move(session: Session, table: Table, which: ColumnElement[bool], by: timedelta) -> None:
    run = session.connection().execute
    for row in run(select(table).where(which)).mappings().all():
        times = {name: row[name] - by for name in TIMES if row.get(name) is not None}
        run(update(table).where(table.c.id == row["id"]).values(**times))
