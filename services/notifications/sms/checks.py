"""Text messages with which admins check whether messages arrive."""

from datetime import timedelta

from sqlmodel import Session

from services.notifications.errors import TextsAreOff
from services.notifications.mail.schemas import QueuedOut
from services.notifications.sms.messages import TEST, Sms, TextMessages
from services.notifications.sms.schemas import TestSms
from services.notifications.sms.texts import SEGMENTS_MAX, segments
from shared.errors import FieldFault, Invalid, TooManyRequests

TESTS_PER_HOUR = 5


def send_test(session: Session, body: TestSms, admin_id: str, messages: TextMessages) -> QueuedOut:
    """Queue a text message to any number; five per hour."""
    if messages.is_off:
        raise TextsAreOff
    if (number := segments(body.body)) > SEGMENTS_MAX:
        message = f"takes {number} segments; {SEGMENTS_MAX} are allowed"
        raise Invalid(errors=[FieldFault(field="body", code="too_long", message=message)])
    if messages.recent(session, admin_id, TEST, timedelta(hours=1), TESTS_PER_HOUR) >= TESTS_PER_HOUR:
        detail = f"An admin may send {TESTS_PER_HOUR} such messages per hour."
        raise TooManyRequests(detail, headers={"Retry-After": "600"})
    sms = Sms(TEST, body.to, body.body, admin_id)
    state, _ = messages.add(session, sms)
    return QueuedOut(delivery_id=sms.id, state=state)
