"""How much an account may create in a day. The counts survive the deletion of what was created."""

import math
from datetime import timedelta

from sqlalchemy import case
from sqlmodel import Session

from services.support.models import DAILY
from shared.clock import now
from shared.data.database import insert_into
from shared.data.statements import Statement, deletion_of
from shared.errors import TooManyRequests

DAY = timedelta(days=1)
TIDIED_ROWS = 1000
TICKETS, REVIEWS = "tickets", "reviews"
_DELETE_OLD = Statement(deletion_of(DAILY.c.user_id, DAILY.c.since, TIDIED_ROWS))


def take(session: Session, user_id: str, kind: str, limit: int) -> None:
    """Count one more of this kind, or refuse it. A day begins with the first one.

    The row stays locked, so other requests of the account wait until the transaction ends.
    """
    moment = now()
    is_over = DAILY.c.since <= moment - DAY
    first = insert_into(session, DAILY).values(user_id=user_id, kind=kind, since=moment, count=1)
    changes = {
        "count": case((is_over, 1), else_=DAILY.c.count + 1),
        "since": case((is_over, first.excluded.since), else_=DAILY.c.since),
    }
    counting = first.on_conflict_do_update(index_elements=["user_id", "kind"], set_=changes)
    row = session.connection().execute(counting.returning(DAILY.c.count, DAILY.c.since)).one()
    if row[0] > limit:
        wait = max(1, math.ceil((row[1] + DAY - moment).total_seconds()))
        raise TooManyRequests(
            f"You can create {limit} {kind} a day; try again later.", headers={"Retry-After": str(wait)}
        )


def tidy(session: Session) -> int:
    """Delete some counts of days that are over; return their number."""
    _, cursor = _DELETE_OLD.execute(session, {"before": now() - DAY})
    return int(cursor.rowcount)
