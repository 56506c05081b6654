"""Handlers of one's own webhooks and of the messages sent to them."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlmodel import Session

from services.notifications.errors import NotEnded, WebhookDisabled
from services.notifications.models import WEBHOOK_ATTEMPTS, WEBHOOK_DELIVERIES
from services.notifications.webhooks import subscriptions
from services.notifications.webhooks.outbox import TEST, Outbox
from services.notifications.webhooks.schemas import (
    CallOut,
    ChangeWebhook,
    CreateWebhook,
    ListMessages,
    MessageDetail,
    MessageOut,
    ReplayedOut,
    ReplayMessages,
    WebhookOut,
    WebhooksOut,
    WebhookWithSecret,
)
from services.notifications.webhooks.subscriptions import Secrets
from shared.caller import Caller
from shared.clock import now
from shared.data.database import one_row
from shared.errors import FieldFault, Invalid, NotFound, TooManyRequests
from shared.events import Trail
from shared.http.schemas import Id, Page
from shared.ids import first_id
from shared.lists.pagination import paginate_equal, rows_of
from shared.peers.outbound import BadAddress, Outbound, read_url

CALLS_SHOWN_MAX = 100
TESTS_PER_HOUR = 20
NOT_PUBLIC = "The URL must begin with https:// and name a host on the public internet."


@dataclass(frozen=True, slots=True)
class CheckedUrl:
    """Whether a URL may be called; `fault` says why not."""

    fault: str | None


async def check_new_url(body: CreateWebhook, outbound: Outbound) -> CheckedUrl:
    return await _checked(body.url, outbound)


async def check_changed_url(body: ChangeWebhook, outbound: Outbound) -> CheckedUrl:
    return await _checked(body.url, outbound)


def list_webhooks(caller: Caller, session: Session) -> WebhooksOut:
    """List your webhooks, newest first."""
    return WebhooksOut(webhooks=[WebhookOut.of(row) for row in subscriptions.list_of(session, caller.id)])


def create_webhook(
    body: CreateWebhook, checked: CheckedUrl, caller: Caller, session: Session, secrets: Secrets
) -> WebhookWithSecret:
    """Create a webhook. Its secret is shown only in this response."""
    _require_callable(checked)
    row, secret = subscriptions.create(
        session, secrets, caller.id, body.url, _distinct(body.types), body.description
    )
    return WebhookWithSecret.of(row, secret=secret)


def show_webhook(webhook_id: Id, caller: Caller, session: Session) -> WebhookOut:
    """Show a webhook of yours."""
    return WebhookOut.of(subscriptions.find(session, caller.id, webhook_id))


def change_webhook(
    webhook_id: Id,
    body: ChangeWebhook,
    checked: CheckedUrl,
    caller: Caller,
    session: Session,
    outbox: Outbox,
) -> WebhookOut:
    """Change a webhook, enable or disable it. Waiting messages are sent to the new URL at once."""
    _require_callable(checked)
    subscriptions.find(session, caller.id, webhook_id)
    outbox.hasten(session, webhook_id)  # before the webhook is locked, in the order of a claim
    row = subscriptions.change(
        session,
        caller.id,
        webhook_id,
        url=body.url,
        types=_distinct(body.types),
        description=body.description,
        is_enabled=body.is_enabled,
    )
    return WebhookOut.of(row)


def delete_webhook(webhook_id: Id, caller: Caller, session: Session, outbox: Outbox) -> None:
    """Delete a webhook with its messages."""
    subscriptions.find(session, caller.id, webhook_id)
    outbox.forget_webhook(session, webhook_id)


def rotate_webhook_secret(
    webhook_id: Id, caller: Caller, session: Session, secrets: Secrets
) -> WebhookWithSecret:
    """Replace the secret. For 24 hours messages are signed with both the new and the previous secret."""
    row, secret = subscriptions.rotate(session, secrets, caller.id, webhook_id)
    return WebhookWithSecret.of(row, secret=secret)


def test_webhook(
    webhook_id: Id, caller: Caller, session: Session, outbox: Outbox, trail: Trail
) -> MessageOut:
    """Send a message of the type `webhook.test`; 20 per hour."""
    _require_enabled(subscriptions.find(session, caller.id, webhook_id))
    since = now() - timedelta(hours=1)
    if outbox.tests_since(session, webhook_id, since, TESTS_PER_HOUR) >= TESTS_PER_HOUR:
        detail = f"A webhook may be tested {TESTS_PER_HOUR} times per hour."
        raise TooManyRequests(detail, headers={"Retry-After": "600"})
    data = {
        "webhook_id": webhook_id,
        "title": "A test",
        "content": "This message shows that messages arrive.",
    }
    (message_id,) = outbox.add(session, [webhook_id], caller.id, TEST, data)
    trail.add(message=message_id)
    return MessageOut.unchecked(_message(session, webhook_id, message_id))


def list_webhook_messages(
    webhook_id: Id, query: ListMessages, caller: Caller, session: Session
) -> Page[MessageOut]:
    """List the messages to a webhook, newest first."""
    subscriptions.find(session, caller.id, webhook_id)
    wanted: dict[str, Any] = {"webhook_id": webhook_id}
    if query.state is not None:
        wanted["state"] = query.state
    return paginate_equal(session, WEBHOOK_DELIVERIES, wanted, query, MessageOut.unchecked)


def show_webhook_message(webhook_id: Id, message_id: Id, caller: Caller, session: Session) -> MessageDetail:
    """Show a message with its body and its calls."""
    subscriptions.find(session, caller.id, webhook_id)
    return _detail(session, webhook_id, message_id)


def replay_webhook_message(
    webhook_id: Id, message_id: Id, caller: Caller, session: Session, outbox: Outbox
) -> MessageDetail:
    """Send a message again that was delivered or failed, with the same `webhook-id`."""
    webhook = subscriptions.find(session, caller.id, webhook_id)
    shown = _detail(session, webhook_id, message_id)
    _require_enabled(webhook)
    if not outbox.replay(session, message_id):
        raise NotEnded(state_now=shown.state)
    return _detail(session, webhook_id, message_id)


def replay_webhook_messages(
    webhook_id: Id, body: ReplayMessages, caller: Caller, session: Session, outbox: Outbox, trail: Trail
) -> ReplayedOut:
    """Send the messages of a period again, at most the oldest 1,000 per request."""
    _require_enabled(subscriptions.find(session, caller.id, webhook_id))
    begin, end = first_id(body.begin), first_id(body.end)
    queued, last = outbox.replay_span(
        session, webhook_id, max(begin, body.after or ""), end, with_delivered=body.with_delivered
    )
    trail.add(queued=queued)
    return ReplayedOut(queued=queued, next=last)


async def _checked(url: str, outbound: Outbound) -> CheckedUrl:
    try:
        read_url(url)
    except BadAddress as error:
        return CheckedUrl(str(error))
    try:
        await outbound.check(url)
    except BadAddress:  # without the reason, which would reveal the names that exist in a private network
        return CheckedUrl(NOT_PUBLIC)
    return CheckedUrl(None)


def _require_callable(checked: CheckedUrl) -> None:
    if checked.fault is not None:
        raise Invalid(errors=[FieldFault(field="url", code="bad_address", message=checked.fault)])


def _require_enabled(webhook: dict[str, Any]) -> None:
    if not webhook["is_enabled"]:
        raise WebhookDisabled


def _distinct(types: list[Any]) -> list[str]:
    return [str(one) for one in dict.fromkeys(types)]


def _message(session: Session, webhook_id: str, message_id: str) -> dict[str, Any]:
    mine = WEBHOOK_DELIVERIES.c.id == message_id, WEBHOOK_DELIVERIES.c.webhook_id == webhook_id
    row = one_row(session, select(WEBHOOK_DELIVERIES).where(*mine))
    if row is None:
        raise NotFound
    return row


def _detail(session: Session, webhook_id: str, message_id: str) -> MessageDetail:
    row = _message(session, webhook_id, message_id)
    calls = select(WEBHOOK_ATTEMPTS).where(WEBHOOK_ATTEMPTS.c.delivery_id == message_id)
    newest = rows_of(session, calls.order_by(WEBHOOK_ATTEMPTS.c.number.desc()).limit(CALLS_SHOWN_MAX))
    return MessageDetail.unchecked(row, calls=[CallOut.unchecked(one) for one in reversed(newest)])
