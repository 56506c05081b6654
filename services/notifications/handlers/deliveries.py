"""Handlers with which admins follow deliveries, repeat them, and test whether mails arrive."""

from datetime import timedelta
from typing import Any

from sqlalchemy import func, select
from sqlmodel import Session

from services.notifications.deliveries import Deliveries
from services.notifications.errors import MailsAreOff, NotFailed, NotQueued
from services.notifications.kinds import Channel
from services.notifications.mail.addresses import BadAddress, read_address
from services.notifications.mail.mails import Mail, Mails
from services.notifications.mail.schemas import (
    AttemptOut,
    DeliveryDetail,
    DeliveryOut,
    ListDeliveries,
    QueuedOut,
    TestEmail,
)
from services.notifications.mail.templates import TEST
from services.notifications.models import ATTEMPTS, DELIVERIES
from services.notifications.sms.messages import TextMessages
from shared.caller import Caller
from shared.clock import now
from shared.data.database import one_row
from shared.errors import FieldFault, Invalid, NotFound, TooManyRequests
from shared.events import Trail
from shared.http.schemas import Id, Page
from shared.ids import first_id
from shared.lists.pagination import paginate_equal

ATTEMPTS_SHOWN_MAX = 500
TESTS_PER_HOUR = 5


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
    try:
        read_address(body.to)
    except BadAddress as error:
        raise Invalid(errors=[FieldFault(field="to", code="bad_address", message=str(error))]) from error
    recent = DELIVERIES.c.user_id == caller.id, DELIVERIES.c.id >= first_id(now(), -timedelta(hours=1))
    some = select(DELIVERIES.c.id).where(*recent, DELIVERIES.c.template == TEST).limit(TESTS_PER_HOUR)
    number = session.connection().execute(select(func.count()).select_from(some.subquery())).scalar_one()
    if number >= TESTS_PER_HOUR:
        detail = f"An admin may send {TESTS_PER_HOUR} such mails per hour."
        raise TooManyRequests(detail, headers={"Retry-After": "600"})
    mail = Mail(TEST, body.to, {"subject": body.subject, "body": body.body}, user_id=caller.id)
    state = mails.add(session, mail)
    if state is None:
        raise MailsAreOff
    trail.add(delivery=mail.id)
    return QueuedOut(delivery_id=mail.id, state=state)


def _of(shown: DeliveryDetail, mails: Mails, messages: TextMessages) -> Deliveries:
    return messages if shown.channel == Channel.SMS else mails


def _detail(session: Session, delivery_id: str) -> DeliveryDetail:
    row = one_row(session, select(DELIVERIES).where(DELIVERIES.c.id == delivery_id))
    if row is None:
        raise NotFound
    made = select(ATTEMPTS).where(ATTEMPTS.c.delivery_id == delivery_id).order_by(ATTEMPTS.c.number)
    attempts = session.connection().execute(made.limit(ATTEMPTS_SHOWN_MAX))
    return DeliveryDetail.unchecked(row, made=[AttemptOut.model_validate(one) for one in attempts])
