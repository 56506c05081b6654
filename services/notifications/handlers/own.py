"""Handlers of one's own notifications and preferences."""

from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from services.notifications import feed, notices, preferences
from services.notifications.models import NOTIFICATIONS
from services.notifications.schemas import (
    ChangeMailTiming,
    ChangePreferences,
    ListNotifications,
    MarkedOut,
    NotificationOut,
    PreferencesOut,
    UnreadOut,
)
from services.notifications.timing import DEFAULT, Timing, zone_of
from shared.caller import Caller
from shared.data.database import Database
from shared.errors import FieldFault, Invalid
from shared.events import Trail
from shared.http.schemas import Id, Page
from shared.http.streams import Streams, last_event_id
from shared.lists.pagination import paginate_equal
from shared.work.changes import Changes


def list_notifications(query: ListNotifications, caller: Caller, session: Session) -> Page[NotificationOut]:
    """List your notifications, newest first."""
    wanted: dict[str, object] = {"user_id": caller.id}
    if query.type is not None:
        wanted["type"] = query.type
    if query.unread is not None:
        wanted["is_read"] = not query.unread
    page = paginate_equal(session, NOTIFICATIONS, wanted, query, NotificationOut.of)
    page.items = [one for one in page.items if one.is_current]  # the others are deleted within a minute
    return page


def count_unread(caller: Caller, session: Session) -> UnreadOut:
    """Count your unread notifications, up to 1,000."""
    return UnreadOut.of(notices.unread(session, caller.id))


async def follow_notifications(
    caller: Caller, database: Database, streams: Streams, changes: Changes, request: Request
) -> Response:
    """Follow your notifications as server-sent events: `notification` for each new one, and `unread`.

    The data of `notification` is the notification as JSON, and its id is that of the event. `unread` is sent
    at the start and whenever the number changes. A client that reconnects with `Last-Event-ID` gets what was
    stored since.
    """
    events = feed.follow(database, changes, caller.id, last_event_id(request))
    return streams.answer(caller, events)


def show_notification(notification_id: Id, caller: Caller, session: Session) -> NotificationOut:
    """Show one of your notifications."""
    return NotificationOut.of(notices.find(session, caller.id, notification_id))


def mark_notification_read(
    notification_id: Id, caller: Caller, session: Session, changes: Changes
) -> NotificationOut:
    """Mark one of your notifications as read."""
    return NotificationOut.of(notices.mark_read(session, caller.id, notification_id, changes))


def mark_all_notifications_read(caller: Caller, session: Session, changes: Changes) -> MarkedOut:
    """Mark all your notifications as read.

    One request marks the 5,000 oldest unread ones; `count` says how many are left.
    """
    marked = notices.mark_all_read(session, caller.id, changes)
    left = UnreadOut.of(notices.unread(session, caller.id))
    return MarkedOut(marked=marked, count=left.count, is_more=left.is_more)


def delete_notification(notification_id: Id, caller: Caller, session: Session, changes: Changes) -> None:
    """Delete one of your notifications."""
    notices.remove(session, caller.id, notification_id, changes)


def show_notification_preferences(caller: Caller, session: Session) -> PreferencesOut:
    """Show which notifications reach you, by type and channel, and when their mails arrive."""
    return _preferences(session, caller.id)


def change_notification_preferences(
    body: ChangePreferences, caller: Caller, session: Session, trail: Trail
) -> PreferencesOut:
    """Switch notifications on and off, by type and channel. All others stay as they are."""
    trail.add(choices=[f"{one.type} {one.channel} {'on' if one.on else 'off'}" for one in body.choices])
    wanted = ((one.type, one.channel, one.on) for one in body.choices)
    preferences.choose(session, caller.id, wanted)
    return _preferences(session, caller.id)


def change_mail_timing(
    body: ChangeMailTiming, caller: Caller, session: Session, trail: Trail
) -> PreferencesOut:
    """Choose quiet hours and digests for mails, and their language. Those about security come at once."""
    try:
        zone_of(body.zone)
    except ValueError as error:
        fault = FieldFault(field="zone", code="unknown_zone", message=str(error))
        raise Invalid(errors=[fault]) from error
    preferences.plan(session, caller.id, Timing(**body.model_dump()))
    trail.add(**body.model_dump())
    return _preferences(session, caller.id)


def _preferences(session: Session, user_id: str) -> PreferencesOut:
    choices = preferences.choices_of(session, [user_id]).get(user_id, preferences.NO_CHOICES)
    timing = preferences.timings_of(session, [user_id]).get(user_id, DEFAULT)
    return PreferencesOut.of(choices, timing)
