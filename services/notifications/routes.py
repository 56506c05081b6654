"""Every endpoint of the notifications service, one line each."""

from services.notifications import handlers
from services.notifications.errors import AlwaysOn
from shared.errors import NotFound, Overloaded, TooManyRequests
from shared.http.operations import Operation
from shared.identity.tokens import admin

READ, WRITE, ADMINISTER = "notifications:read", "notifications:write", "admin:notifications"
_ONE = "/notifications/{notification_id}"

OPERATIONS = [
    Operation("GET", "/notifications", handlers.list_notifications, scope=READ),
    Operation(
        "POST",
        "/notifications",
        handlers.send_notification,
        access=admin,
        scope=ADMINISTER,
        status=201,
        idempotent=True,
        prepare=handlers.find_addressee,
    ),
    Operation("GET", "/notifications/unread/count", handlers.count_unread, scope=READ),
    Operation(
        "GET",
        "/notifications/stream",
        handlers.follow_notifications,
        scope=READ,
        answer_types=("text/event-stream",),
        errors=(TooManyRequests, Overloaded),
    ),
    Operation("PUT", "/notifications/read-all", handlers.mark_all_notifications_read, scope=WRITE),
    Operation("GET", "/notifications/preferences", handlers.show_notification_preferences, scope=READ),
    Operation(
        "PUT",
        "/notifications/preferences",
        handlers.change_notification_preferences,
        scope=WRITE,
        errors=(AlwaysOn,),
    ),
    Operation("GET", _ONE, handlers.show_notification, scope=READ, errors=(NotFound,)),
    Operation("DELETE", _ONE, handlers.delete_notification, scope=WRITE, status=204, errors=(NotFound,)),
    Operation("PUT", f"{_ONE}/read", handlers.mark_notification_read, scope=WRITE, errors=(NotFound,)),
]
