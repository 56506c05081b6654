"""Every endpoint of the notifications service."""

from collections.abc import Callable
from functools import partial

from services.notifications.errors import AlwaysOn, MailsAreOff, NotFailed, NotQueued
from services.notifications.handlers import deliveries, own, templates
from shared.errors import NotFound, Overloaded, TooManyRequests
from shared.http.operations import Operation
from shared.identity.tokens import admin

READ, WRITE, ADMINISTER = "notifications:read", "notifications:write", "admin:notifications"
_ONE = "/notifications/{notification_id}"
_DELIVERY = "/notifications/deliveries/{delivery_id}"
_TEMPLATE = "/notifications/templates/{name}"
_UNKNOWN = (NotFound,)

_for_admins: Callable[..., Operation] = partial(Operation, access=admin, scope=ADMINISTER)

OPERATIONS: list[Operation] = [
    Operation("GET", "/notifications", own.list_notifications, scope=READ),
    _for_admins(
        "POST",
        "/notifications",
        own.send_notification,
        status=201,
        idempotent=True,
        prepare=own.find_addressee,
    ),
    Operation("GET", "/notifications/unread/count", own.count_unread, scope=READ),
    Operation(
        "GET",
        "/notifications/stream",
        own.follow_notifications,
        scope=READ,
        answer_types=("text/event-stream",),
        errors=(TooManyRequests, Overloaded),
    ),
    Operation("PUT", "/notifications/read-all", own.mark_all_notifications_read, scope=WRITE),
    Operation("GET", "/notifications/preferences", own.show_notification_preferences, scope=READ),
    Operation(
        "PUT",
        "/notifications/preferences",
        own.change_notification_preferences,
        scope=WRITE,
        errors=(AlwaysOn,),
    ),
    _for_admins("GET", "/notifications/deliveries", deliveries.list_deliveries),
    _for_admins("GET", _DELIVERY, deliveries.show_delivery, errors=_UNKNOWN),
    _for_admins("POST", f"{_DELIVERY}/retry", deliveries.retry_delivery, errors=(*_UNKNOWN, NotFailed)),
    _for_admins("POST", f"{_DELIVERY}/cancel", deliveries.cancel_delivery, errors=(*_UNKNOWN, NotQueued)),
    _for_admins(
        "POST",
        "/notifications/test-email",
        deliveries.send_test_email,
        status=202,
        errors=(MailsAreOff, TooManyRequests),
    ),
    _for_admins("POST", "/notifications/suppressions/lift", deliveries.allow_address),
    _for_admins("GET", "/notifications/templates", templates.list_templates),
    _for_admins("GET", _TEMPLATE, templates.show_template, errors=_UNKNOWN),
    _for_admins("PUT", _TEMPLATE, templates.change_template, errors=_UNKNOWN),
    _for_admins("DELETE", _TEMPLATE, templates.restore_template, errors=_UNKNOWN),
    _for_admins("POST", f"{_TEMPLATE}/preview", templates.preview_template, errors=_UNKNOWN),
    Operation("GET", _ONE, own.show_notification, scope=READ, errors=_UNKNOWN),
    Operation("DELETE", _ONE, own.delete_notification, scope=WRITE, status=204, errors=_UNKNOWN),
    Operation("PUT", f"{_ONE}/read", own.mark_notification_read, scope=WRITE, errors=_UNKNOWN),
]
