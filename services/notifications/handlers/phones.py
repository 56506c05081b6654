"""Handlers for the phone of an account, and the text message that tests whether any arrive."""

from sqlmodel import Session

from services.notifications.errors import WrongCode
from services.notifications.mail.schemas import QueuedOut
from services.notifications.sms import checks
from services.notifications.sms.messages import TextMessages
from services.notifications.sms.phones import Phones
from services.notifications.sms.schemas import ConfirmPhone, EnterPhone, PhoneOut, TestSms
from shared.caller import Caller
from shared.data.database import Database
from shared.errors import NotFound
from shared.events import Trail


def show_phone(caller: Caller, session: Session, phones: Phones) -> PhoneOut:
    """Show your phone, and whether it is confirmed."""
    return _shown(session, phones, caller.id)


def enter_phone(body: EnterPhone, caller: Caller, session: Session, phones: Phones, trail: Trail) -> PhoneOut:
    """Enter your phone. A code is sent to it, which is valid for ten minutes; five codes a day."""
    trail.resource = caller.id
    phones.enter(session, caller.id, body.number)
    return _shown(session, phones, caller.id)


async def confirm_phone(
    body: ConfirmPhone, caller: Caller, database: Database, phones: Phones, trail: Trail
) -> PhoneOut:
    """Confirm your phone by the code that was sent to it. After five wrong codes request another one."""
    trail.resource = caller.id
    if not await database.run(phones.confirm, caller.id, body.code):  # commits, so a wrong code counts
        raise WrongCode
    return await database.read(_shown, phones, caller.id)


def remove_phone(caller: Caller, session: Session, phones: Phones, trail: Trail) -> None:
    """Remove your phone; no more text messages are sent."""
    trail.resource = caller.id
    if not phones.remove(session, caller.id):
        raise NotFound


def send_test_sms(
    body: TestSms, caller: Caller, session: Session, messages: TextMessages, trail: Trail
) -> QueuedOut:
    """Send a text message to check whether messages arrive; five per hour."""
    queued = checks.send_test(session, body, caller.id, messages)
    trail.add(delivery=queued.delivery_id)
    return queued


def _shown(session: Session, phones: Phones, user_id: str) -> PhoneOut:
    number, is_confirmed = phones.find(session, user_id)
    return PhoneOut(number=number, is_confirmed=is_confirmed)
