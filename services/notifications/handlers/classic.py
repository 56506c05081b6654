"""Handlers of notifications in the older form; they do what the handlers of the native form do."""

from sqlmodel import Session

from services.notifications import notices
from services.notifications.classic.schemas import (
    NotificationPage,
    OldNotification,
)
from services.notifications.mail import checks as mail_checks
from services.notifications.mail.mails import Mails
from services.notifications.mail.schemas import TestEmail
from services.notifications.models import NOTIFICATIONS
from services.notifications.sms import checks as sms_checks
from services.notifications.sms.messages import TextMessages
from services.notifications.sms.schemas import TestSms
from shared.caller import Caller
from shared.events import Trail
from shared.http.schemas import Done, Id
from shared.lists.numbered import ByNumber, page_of
from shared.work.changes import Changes


def list_classic_notifications(query: ByNumber, caller: Caller, session: Session) -> NotificationPage:
    """List your notifications, newest first."""
    rows, total = page_of(session, NOTIFICATIONS, [{"user_id": caller.id}], query)
    return NotificationPage(
        notifications=[OldNotification.of(row) for row in rows if notices.is_shown(row)],
        unread=notices.unread(session, caller.id),
        **query.described(total),
    )


def show_classic_notification(notification_id: Id, caller: Caller, session: Session) -> OldNotification:
    """Show one of your notifications."""
    return OldNotification.of(notices.find(session, caller.id, notification_id))


def mark_classic_notification_read(
    notification_id: Id, caller: Caller, session: Session, changes: Changes
) -> Done:
    """Mark one of your notifications as read."""
    notices.mark_read(session, caller.id, notification_id, changes)
    return Done()


def delete_classic_notification(
    notification_id: Id, caller: Caller, session: Session, changes: Changes
) -> Done:
    """Delete one of your notifications."""
    notices.remove(session, caller.id, notification_id, changes)
    return Done()


def send_classic_test_email(
    body: TestEmail, caller: Caller, session: Session, mails: Mails, trail: Trail
) -> Done:
    """Send a mail to check whether mails arrive; five per hour."""
    trail.add(delivery=mail_checks.send_test(session, body, caller.id, mails).delivery_id)
    return Done()


def send_classic_test_sms(
    body: TestSms, caller: Caller, session: Session, messages: TextMessages, trail: Trail
) -> Done:
    """Send a text message to check whether messages arrive; five per hour."""
    trail.add(delivery=sms_checks.send_test(session, body, caller.id, messages).delivery_id)
    return Done()
