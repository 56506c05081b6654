"""What the dashboard shows of notifications."""

from sqlalchemy import select

from contracts.summaries import Rows
from services.notifications.deliveries import State
from services.notifications.models import DELIVERIES, NOTIFICATIONS


def rows_of(user_id: str | None) -> Rows:
    """Return what is counted: the notifications of a person, or all and the mails that wait."""
    if user_id is None:
        waiting = select(DELIVERIES.c.id).where(DELIVERIES.c.state == str(State.QUEUED))
        return {"total": select(NOTIFICATIONS.c.id), "mails_queued": waiting}
    mine = select(NOTIFICATIONS.c.id).where(NOTIFICATIONS.c.user_id == user_id)
    return {"total": mine, "unread": mine.where(NOTIFICATIONS.c.is_read.is_(False))}
