"""Handlers with which admins follow deliveries, repeat them, and test whether mails arrive."""

from typing import Any

from sqlalchemy import select
from sqlmodel import Session

from services.notifications.deliveries import Deliveries
from services.notifications.errors import NotFailed, NotQueued
from services.notifications.kinds import Channel
from services.notifications.mail import checks
from services.notifications.mail.mails import Mails
from services.notifications.mail.schemas import (
    AttemptOut,
    DeliveryDetail,
    DeliveryOut,
    ListDeliveries,
    QueuedOut,
    TestEmail,
)
from services.notifications.models import ATTEMPTS, DELIVERIES
from services.notifications.sms.messages import TextMessages
from shared.caller import Caller
from shared.data.database import one_row
from shared.errors import NotFound
from shared.events import Trail
from shared.http.schemas import Id, Page
from shared.lists.pagination import paginate_equal

ATTEMPTS_SHOWN_MAX = 500


def list_deliveries(query: ListDeliveries, session: Session) -> Page[DeliveryOut]:
    """List deliveries, newest first; `state=failed` lists those that were given up."""
    given = {"state": query.state, "user_id": query.user_id}
    wanted: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return paginate_equal(session, DELIVERIES, wanted, query, DeliveryOut.unchecked)


def show_delivery(delivery_id: Id, session: Session) -> DeliveryDetail:
    """Show a delivery with its attempts."""
    return _detail(session, delivery_id)


def retry_delivery(delivery_id: Id, session: Session, mails: Mails, messages: TextMessages) -> DeliveryDetail:
    """Queue a failed delivery again. Its attempts are counted from zero."""
    shown = _detail(session, delivery_id)
    if not _of(shown, mails, messages).repeat(session, delivery_id):
        raise NotFailed(state_now=shown.state)
    return _detail(session, delivery_id)


def cancel_delivery(
    delivery_id: Id, session: Session, mails: Mails, messages: TextMessages
) -> DeliveryDetail:
    """Cancel a delivery that is waiting for its next attempt."""
    shown = _detail(session, delivery_id)
    if not _of(shown, mails, messages).cancel(session, delivery_id):
        raise NotQueued(state_now=shown.state)
    return _detail(session, delivery_id)


def send_test_email(
    body: TestEmail, caller: Caller, session: Session, mails: Mails, trail: Trail
) -> QueuedOut:
    """Send a mail to check whether mails arrive; five per hour."""
    queued = checks.send_test(session, body, caller.id, mails)
    trail.add(delivery=queued.delivery_id)
    return queued


def _of(shown: DeliveryDetail, mails: Mails, messages: TextMessages) -> Deliveries:
    return messages if shown.channel == Channel.SMS else mails


def _detail(session: Session, delivery_id: str) -> DeliveryDetail:
    row = one_row(session, select(DELIVERIES).where(DELIVERIES.c.id == delivery_id))
    if row is None:
        raise NotFound
    made = select(ATTEMPTS).where(ATTEMPTS.c.delivery_id == delivery_id).order_by(ATTEMPTS.c.number)
    attempts = session.connection().execute(made.limit(ATTEMPTS_SHOWN_MAX))
    return DeliveryDetail.unchecked(row, made=[AttemptOut.model_validate(one) for one in attempts])
