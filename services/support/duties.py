"""The background work of the support service."""

from sqlalchemy import select

from services.support import daily, due
from services.support.models import TICKETS, WORK, Ticket
from services.support.settings import Settings
from services.support.telling import tell_overdue
from shared.clock import now
from shared.data.database import Database
from shared.work.duties import Duties, Duty, IsStopping

BATCH_ROWS = 200
TIDY_SECONDS = 3600


def duties(database: Database, settings: Settings, *more: Duty) -> Duties:
    def watch(is_stopping: IsStopping) -> None:
        while not is_stopping() and tell_passed(database) == BATCH_ROWS:
            pass

    def tidy(is_stopping: IsStopping) -> None:
        while not is_stopping() and tidy_counts(database):
            pass

    of_tickets = Duty("tell overdue tickets", settings.overdue_seconds, watch, alone=True)
    of_counts = Duty("delete old counts", TIDY_SECONDS, tidy, alone=True)
    return Duties(database, [of_tickets, of_counts, *more], WORK)


def tidy_counts(database: Database) -> int:
    with database.transaction() as session:
        return daily.tidy(session)


def tell_passed(database: Database) -> int:
    """Report a batch of due times that have passed; return the number of their tickets."""
    late = select(Ticket).where(TICKETS.c.watch_at.is_not(None), TICKETS.c.watch_at <= now())
    late = late.order_by(TICKETS.c.watch_at)
    with database.transaction(write=False) as session:
        if session.scalars(late.limit(1)).first() is None:
            return 0  # nearly always: a transaction that writes would make others wait
    with database.transaction() as session:
        found = session.scalars(late.limit(BATCH_ROWS).with_for_update(skip_locked=True)).all()
        for ticket in found:
            for name in due.passed(ticket, now()):
                tell_overdue(session, ticket, name)
    return len(found)
