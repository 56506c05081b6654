"""Every endpoint of the notifications service."""

from collections.abc import Callable
from functools import partial

from contracts.summaries import summary_operation
from services.notifications import summary
from services.notifications.errors import (
    AlwaysOn,
    BadEvents,
    BadReport,
    BadSignature,
    Duplicate,
    MailsAreOff,
    NoCodeSent,
    NotEnded,
    NotFailed,
    NotQueued,
    NumberNotAllowed,
    Suppressed,
    TextsAreOff,
    TooManyWebhooks,
    WebhookDisabled,
    WrongCode,
)
from services.notifications.handlers import (
    analytics,
    classic,
    deliveries,
    mailbox,
    own,
    phones,
    provider_events,
    sending,
    suppressions,
    templates,
    unsubscribing,
    webhooks,
)
from services.notifications.mail.mailbox import PATH as MAILBOX
from services.notifications.settings import TWILIO_REPORTS
from services.notifications.unsubscribing import PATH as UNSUBSCRIBE
from shared.errors import Forbidden, NotFound, Overloaded, TooLarge, TooManyRequests
from shared.http.operations import Operation
from shared.identity.tokens import admin, internal, person, public

READ, WRITE, ADMINISTER = "notifications:read", "notifications:write", "admin:notifications"
_ONE = "/notifications/{notification_id}"
_DELIVERY = "/notifications/deliveries/{delivery_id}"
_ANNOUNCEMENT = "/notifications/announcements/{announcement_id}"
_TEMPLATE = "/notifications/templates/{name}"
_WEBHOOK = "/notifications/webhooks/{webhook_id}"
_MESSAGE = f"{_WEBHOOK}/messages/{{message_id}}"
_PHONE = "/notifications/phone"
_CLASSIC = "/classic/notifications/{notification_id}"
_UNKNOWN = (NotFound,)
_HTML = ("text/html",)

_for_admins: Callable[..., Operation] = partial(Operation, access=admin, scope=ADMINISTER)
# A webhook receives what its owner receives, so neither programs nor impersonating admins may add one.
_in_person: Callable[..., Operation] = partial(Operation, access=person)

OPERATIONS: list[Operation] = [
    summary_operation(summary.rows_of),
    Operation("GET", "/notifications", own.list_notifications, scope=READ),
    _for_admins(
        "POST",
        "/notifications",
        sending.send_notification,
        status=202,
        idempotent=True,
        prepare=sending.find_addressee,
        errors=(Duplicate, TooManyRequests),
    ),
    Operation(
        "POST",
        "/internal/notifications",
        sending.send_internal_notification,
        access=internal,
        status=202,
        idempotent=True,
        prepare=sending.find_addressee,
        errors=(Duplicate, TooManyRequests),
    ),
    _for_admins("GET", "/notifications/announcements", sending.list_announcements),
    _for_admins("GET", _ANNOUNCEMENT, sending.show_announcement, errors=_UNKNOWN),
    _for_admins("POST", f"{_ANNOUNCEMENT}/cancel", sending.cancel_announcement, status=202, errors=_UNKNOWN),
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
    Operation("PUT", "/notifications/preferences/mails", own.change_mail_timing, scope=WRITE),
    _for_admins("GET", "/notifications/deliveries", deliveries.list_deliveries),
    _for_admins("GET", _DELIVERY, deliveries.show_delivery, errors=_UNKNOWN),
    _for_admins(
        "POST", f"{_DELIVERY}/retry", deliveries.retry_delivery, errors=(*_UNKNOWN, NotFailed, Suppressed)
    ),
    _for_admins("POST", f"{_DELIVERY}/cancel", deliveries.cancel_delivery, errors=(*_UNKNOWN, NotQueued)),
    _for_admins(
        "POST",
        "/notifications/test-email",
        deliveries.send_test_email,
        status=202,
        errors=(MailsAreOff, TooManyRequests),
    ),
    _for_admins(
        "POST",
        "/notifications/test-sms",
        phones.send_test_sms,
        status=202,
        errors=(TextsAreOff, TooManyRequests),
    ),
    _in_person("GET", MAILBOX, mailbox.show_mailbox, answer_types=_HTML, errors=(Forbidden, NotFound)),
    _in_person(
        "GET",
        f"{MAILBOX}/{{mail_name}}",
        mailbox.show_mail,
        answer_types=_HTML,
        errors=(Forbidden, NotFound),
    ),
    _for_admins("GET", "/notifications/suppressions", suppressions.list_suppressions),
    _for_admins("POST", "/notifications/suppressions", suppressions.add_suppression, status=201),
    _for_admins(
        "DELETE",
        "/notifications/suppressions/{suppression_id}",
        suppressions.remove_suppression,
        status=204,
        errors=_UNKNOWN,
    ),
    _for_admins("POST", "/notifications/suppressions/lift", suppressions.allow_address),
    _for_admins("GET", "/notifications/templates", templates.list_templates),
    _for_admins("GET", _TEMPLATE, templates.show_template, errors=_UNKNOWN),
    _for_admins("PUT", _TEMPLATE, templates.change_template, errors=_UNKNOWN),
    _for_admins("DELETE", _TEMPLATE, templates.restore_template, errors=_UNKNOWN),
    _for_admins("POST", f"{_TEMPLATE}/preview", templates.preview_template, errors=_UNKNOWN),
    Operation(
        "GET",
        UNSUBSCRIBE,
        unsubscribing.show_unsubscribing,
        access=public,
        recorded=False,
        answer_types=_HTML,
        also={410: "text/html"},
    ),
    Operation(
        "POST",
        UNSUBSCRIBE,
        unsubscribing.unsubscribe,
        access=public,
        answer_types=_HTML,
        also={410: "text/html"},
    ),
    _in_person("GET", _PHONE, phones.show_phone),
    _in_person(
        "PUT",
        _PHONE,
        phones.enter_phone,
        errors=(TextsAreOff, NumberNotAllowed, Suppressed, TooManyRequests),
    ),
    _in_person("DELETE", _PHONE, phones.remove_phone, status=204, errors=_UNKNOWN),
    _in_person("POST", f"{_PHONE}/confirm", phones.confirm_phone, errors=(NoCodeSent, WrongCode)),
    _in_person("GET", "/notifications/webhooks", webhooks.list_webhooks),
    _in_person(
        "POST",
        "/notifications/webhooks",
        webhooks.create_webhook,
        status=201,
        location="/notifications/webhooks/{id}",
        errors=(TooManyWebhooks,),
        prepare=webhooks.check_new_url,
    ),
    Operation(
        "POST",
        "/notifications/webhooks/sendgrid",
        provider_events.receive_sendgrid_events,
        access=public,
        body_type="application/json",
        also={204: ""},
        errors=(BadEvents, BadSignature, NotFound, TooLarge),
    ),
    Operation(
        "POST",
        TWILIO_REPORTS,
        provider_events.receive_twilio_reports,
        access=public,
        body_type="application/x-www-form-urlencoded",
        also={204: ""},
        errors=(BadReport, BadSignature, NotFound, TooLarge),
    ),
    _in_person("GET", _WEBHOOK, webhooks.show_webhook, errors=_UNKNOWN),
    _in_person("PUT", _WEBHOOK, webhooks.change_webhook, errors=_UNKNOWN, prepare=webhooks.check_changed_url),
    _in_person("DELETE", _WEBHOOK, webhooks.delete_webhook, status=204, errors=_UNKNOWN),
    _in_person("POST", f"{_WEBHOOK}/secret", webhooks.rotate_webhook_secret, errors=_UNKNOWN),
    _in_person(
        "POST",
        f"{_WEBHOOK}/test",
        webhooks.test_webhook,
        status=202,
        errors=(*_UNKNOWN, WebhookDisabled, TooManyRequests),
    ),
    _in_person("GET", f"{_WEBHOOK}/messages", webhooks.list_webhook_messages, errors=_UNKNOWN),
    _in_person("GET", _MESSAGE, webhooks.show_webhook_message, errors=_UNKNOWN),
    _in_person(
        "POST",
        f"{_MESSAGE}/replay",
        webhooks.replay_webhook_message,
        status=202,
        errors=(*_UNKNOWN, WebhookDisabled, NotEnded),
    ),
    _in_person(
        "POST",
        f"{_WEBHOOK}/replay",
        webhooks.replay_webhook_messages,
        status=202,
        errors=(*_UNKNOWN, WebhookDisabled),
    ),
    Operation(
        "POST",
        "/analytics/events",
        analytics.measure_event,
        scope=WRITE,
        status=202,
        recorded=False,
        errors=(Overloaded,),
    ),
    Operation("GET", "/analytics/consent", analytics.show_consent, scope=READ),
    _in_person("PUT", "/analytics/consent", analytics.change_consent),
    Operation("GET", _ONE, own.show_notification, scope=READ, errors=_UNKNOWN),
    Operation("DELETE", _ONE, own.delete_notification, scope=WRITE, status=204, errors=_UNKNOWN),
    Operation("PUT", f"{_ONE}/read", own.mark_notification_read, scope=WRITE, errors=_UNKNOWN),
    # The older form, which `/api/v1/notifications` leads to.
    Operation(
        "GET",
        "/classic/notifications",
        classic.list_classic_notifications,
        scope=READ,
        action="LIST_NOTIFICATIONS",
    ),
    _for_admins(
        "POST",
        "/classic/notifications/test-email",
        classic.send_classic_test_email,
        action="SEND_TEST_EMAIL",
        errors=(MailsAreOff, TooManyRequests),
    ),
    _for_admins(
        "POST",
        "/classic/notifications/test-sms",
        classic.send_classic_test_sms,
        action="SEND_TEST_SMS",
        errors=(TextsAreOff, TooManyRequests),
    ),
    Operation(
        "GET",
        _CLASSIC,
        classic.show_classic_notification,
        scope=READ,
        action="SHOW_NOTIFICATION",
        errors=_UNKNOWN,
    ),
    Operation(
        "DELETE",
        _CLASSIC,
        classic.delete_classic_notification,
        scope=WRITE,
        action="DELETE_NOTIFICATION",
        errors=_UNKNOWN,
    ),
    Operation(
        "PUT",
        f"{_CLASSIC}/read",
        classic.mark_classic_notification_read,
        scope=WRITE,
        action="MARK_NOTIFICATION_READ",
        errors=_UNKNOWN,
    ),
]
