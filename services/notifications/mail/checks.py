"""Mails with which admins check whether mails arrive."""

from datetime import timedelta

from sqlalchemy import func, select
from sqlmodel import Session

from services.notifications.errors import MailsAreOff
from services.notifications.mail.addresses import BadAddress, read_address
from services.notifications.mail.mails import Mail, Mails
from services.notifications.mail.schemas import QueuedOut, TestEmail
from services.notifications.mail.templates import TEST
from services.notifications.models import DELIVERIES
from shared.clock import now
from shared.errors import FieldFault, Invalid, TooManyRequests
from shared.ids import first_id

TESTS_PER_HOUR = 5


def send_test(session: Session, body: TestEmail, admin_id: str, mails: Mails) -> QueuedOut:
    """Queue a mail to any address; five per hour."""
    try:
        read_address(body.to)
    except BadAddress as error:
        raise Invalid(errors=[FieldFault(field="to", code="bad_address", message=str(error))]) from error
    recent = DELIVERIES.c.user_id == admin_id, DELIVERIES.c.id >= first_id(now(), -timedelta(hours=1))
    some = select(DELIVERIES.c.id).where(*recent, DELIVERIES.c.template == TEST).limit(TESTS_PER_HOUR)
    number = session.connection().execute(select(func.count()).select_from(some.subquery())).scalar_one()
    if number >= TESTS_PER_HOUR:
        detail = f"An admin may send {TESTS_PER_HOUR} such mails per hour."
        raise TooManyRequests(detail, headers={"Retry-After": "600"})
    mail = Mail(TEST, body.to, {"subject": body.subject, "body": body.body}, user_id=admin_id)
    state = mails.add(session, mail)
    if state is None:
        raise MailsAreOff
    return QueuedOut(delivery_id=mail.id, state=state)
