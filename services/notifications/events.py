"""How the notifications service turns events of other services into notifications."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from sqlalchemy import delete
from sqlmodel import Session

from contracts.events import (
    AccountChanged,
    AccountCreated,
    AccountDeleted,
    AccountState,
    MailRequested,
    OrderChanged,
    OrderPlaced,
    StockLow,
    SyncFinished,
)
from contracts.exports import Row, Section, exporting, table_section
from contracts.invoices import InvoiceIssued
from contracts.support import (
    ReviewModerated,
    StaffChanged,
    TicketChanged,
    TicketOpened,
    TicketOverdue,
    TicketReplied,
)
from services.notifications import deliveries, notices, of_support
from services.notifications.analytics.events import Analytics
from services.notifications.kinds import NoticeType, Severity
from services.notifications.mail.attachments import WantedInvoice
from services.notifications.mail.mails import Mail
from services.notifications.mail.templates import TEMPLATES, built_in
from services.notifications.models import (
    DELIVERIES,
    DIGEST_ITEMS,
    NOTIFICATIONS,
    PHONES,
    PREFERENCES,
    RECIPIENTS,
    SUPPORT_STAFF,
    USED_KEYS,
    WEBHOOK_DELIVERIES,
    WEBHOOKS,
    WORK,
)
from services.notifications.notices import Desk, Notice
from services.notifications.sms.phones import Phones
from shared.clock import now
from shared.data.database import insert_into
from shared.data.money import from_minor
from shared.events import Consumers
from shared.events.inbox import Poison
from shared.work.jobs import Jobs

MakeNotices = Callable[[Session, Any], Iterable[Notice]]

_STEPS = {
    "confirmed": ("Your order is confirmed", Severity.SUCCESS),
    "shipped": ("Your order is on its way", Severity.INFO),
    "delivered": ("Your order was delivered", Severity.SUCCESS),
    "cancelled": ("Your order was cancelled", Severity.WARNING),
    "returned": ("Your order was returned", Severity.INFO),
}

_ALERTS = {
    "email_changed": "Sign in with the new address. If this was not you, contact your admins now.",
    "factor_added": "New: {factor}. If this was not you, choose a new password now.",
    "factor_removed": "Removed: {factor}. If this was not you, choose a new password now.",
    "provider_connected": "{provider} can now be used to sign in. If this was not you, remove it now.",
    "provider_disconnected": "{provider} can no longer be used to sign in.",
    "impersonated": "The admin {admin} can act as you for {minutes} minutes. You can end this at any time.",
    "password_changed": "Your other sessions were ended. If this was not you, choose a new password now.",
}


def of_placed_order(_: Session, event: OrderPlaced) -> Iterator[Notice]:
    content = f"You ordered {event.product_name}, quantity {event.quantity}."
    yield Notice(
        event.user_id,
        NoticeType.ORDER_PLACED,
        "Your order was placed",
        content,
        Severity.SUCCESS,
        {"order_id": event.order_id},
    )


def of_changed_order(_: Session, event: OrderChanged) -> Iterator[Notice]:
    """Notify the owner of the order's next step. Changes of its content cause no notification."""
    if event.status == event.status_before:
        return
    title, severity = _STEPS.get(event.status, (f"Your order is {event.status}", Severity.INFO))
    content = f"{event.product_name}, quantity {event.quantity}: {event.status_before} → {event.status}."
    data = {"order_id": event.order_id, "status": event.status}
    yield Notice(event.user_id, NoticeType.ORDER_CHANGED, title, content, severity, data)


def of_issued_invoice(_: Session, event: InvoiceIssued) -> Iterator[Notice]:
    """Notify the owner of the order of an invoice or a credit note."""
    words = event.kind.replace("_", " ")
    content = f"The {words} {event.number} for {_amount(event)} can be read as a PDF with your order."
    yield Notice(
        event.user_id,
        NoticeType.INVOICE_ISSUED,
        f"Your {words} was issued",
        content,
        data={"order_id": event.order_id, "number": event.number},
        invoice=WantedInvoice(event.invoice_id, event.number),
    )


def _amount(event: InvoiceIssued) -> str:
    return f"{from_minor(event.total_minor, event.currency)} {event.currency}"


def of_finished_sync(session: Session, event: SyncFinished) -> Iterator[Notice]:
    """Notify the admins of a failed sync, and once of all WorkSpaces that a sync found to be gone."""
    data = {"sync_id": event.sync_id}
    if event.state == "failed":
        title = "A sync of the AWS accounts failed"
        content = f"The sync of {event.kind} failed. Its details name the accounts and the reasons."
        for admin in notices.admins(session):
            yield Notice(admin, NoticeType.SYNC_FAILED, title, content, Severity.ERROR, data)
    if event.workspaces_gone:
        one = event.workspaces_gone == 1
        title = "A WorkSpace is gone" if one else f"{event.workspaces_gone} WorkSpaces are gone"
        content = (
            f"AWS no longer lists {'it' if one else 'them'}. Filter the list of WorkSpaces by gone=true."
        )
        for admin in notices.admins(session):
            yield Notice(admin, NoticeType.WORKSPACE_GONE, title, content, Severity.INFO, data)


def of_low_stock(session: Session, event: StockLow) -> Iterator[Notice]:
    """Notify the admins of a product of which few pieces are left."""
    content = f"{event.name} ({event.sku}): {event.available} available. Order more, or set another limit."
    data = {"product_id": event.product_id, "sku": event.sku, "available": str(event.available)}
    for admin in notices.admins(session):
        yield Notice(
            admin, NoticeType.STOCK_LOW, "The stock of a product is low", content, Severity.WARNING, data
        )


def of_mail(event: MailRequested) -> Iterator[Notice]:
    """Notify an account in the app of what a mail says, without the mail's link."""
    if event.template == "export_ready":
        content = "Download it from your account page; it will be deleted after a few days."
        kind, severity = NoticeType.EXPORT_READY, Severity.INFO
    elif event.template in _ALERTS:
        content = _ALERTS[event.template].format_map(defaultdict(lambda: "?", event.values))
        kind, severity = NoticeType.SECURITY_ALERT, Severity.WARNING
    else:
        return
    assert event.account_id is not None
    yield Notice(event.account_id, kind, built_in(event.template).subject, content, severity)


def queue_mails(desk: Desk, session: Session, events: Sequence[MailRequested]) -> None:
    """Queue the mails that auth asks for, and notify their accounts in the app as well."""
    gone = notices.deleted(session, {event.account_id for event in events if event.account_id is not None})
    for event in events:
        if event.template not in TEMPLATES:
            raise Poison(f"there is no template {event.template}; update the service, and replay this event")
    wanted = [event for event in events if event.account_id not in gone]
    states = desk.mails.add_all(session, [_mail(event) for event in wanted])
    for event, state in zip(wanted, states, strict=True):
        if state is None and desk.mails.has(session, event.mail_id):
            continue  # known already
        if event.account_id is not None:
            desk.deliver(session, of_mail(event))


def _mail(event: MailRequested) -> Mail:
    return Mail(
        id=event.mail_id,
        template=event.template,
        to=event.email,
        values=event.values,
        link=event.link,
        expires=event.expires,
        user_id=event.account_id,
    )


def keep_accounts(session: Session, events: Sequence[AccountState]) -> None:
    """Keep the newest state of each account, but never revive a deleted one."""
    newest = {event.account_id: event for event in events}
    rows = [
        {
            "user_id": event.account_id,
            "email": event.email,
            "email_verified": event.email_verified,
            "role": event.role,
            "status": event.status,
            "joined": event.created,
            "updated": event.updated,
        }
        for event in newest.values()
    ]
    adding = insert_into(session, RECIPIENTS).values(rows)
    kept = ("email", "email_verified", "role", "status", "joined", "updated")
    changed = {name: adding.excluded[name] for name in kept}
    alive = RECIPIENTS.c.deleted.is_(None)
    session.connection().execute(
        adding.on_conflict_do_update(index_elements=["user_id"], set_=changed, where=alive)
    )


def keep_and_measure_accounts(
    analytics: Analytics, session: Session, events: Sequence[AccountCreated]
) -> None:
    keep_accounts(session, events)
    for account_id in sorted({event.account_id for event in events}):  # it locks their preferences
        analytics.add_sign_up(session, account_id)


def forget_people(desk: Desk, session: Session, events: Sequence[AccountDeleted]) -> None:
    """Delete everything about deleted accounts, and remember that they are gone."""
    execute, gone = session.connection().execute, {event.account_id: event for event in events}
    deliveries.forget(session, list(gone))
    desk.outbox.forget_people(session, list(gone))
    known = {"email": None, "email_verified": False, "role": "", "status": "deleted", "joined": None}
    blank = {**known, "updated": now()}
    rows = [{"user_id": user_id, "deleted": event.deleted, **blank} for user_id, event in gone.items()]
    adding = insert_into(session, RECIPIENTS).values(rows)
    blanked = {name: adding.excluded[name] for name in (*blank, "deleted")}
    execute(adding.on_conflict_do_update(index_elements=["user_id"], set_=blanked))
    for table in (NOTIFICATIONS, SUPPORT_STAFF, PHONES, USED_KEYS):
        execute(delete(table).where(table.c.user_id.in_(gone)))
    desk.digests.forget(session, gone)
    for account_id in gone:
        Jobs(WORK, {}).forget(session, account_id)


NOTICES: dict[type[Any], MakeNotices] = {
    OrderPlaced: of_placed_order,
    OrderChanged: of_changed_order,
    InvoiceIssued: of_issued_invoice,
    SyncFinished: of_finished_sync,
    StockLow: of_low_stock,
    TicketOpened: of_support.of_opened_ticket,
    TicketReplied: of_support.of_replied_ticket,
    TicketChanged: of_support.of_changed_ticket,
    TicketOverdue: of_support.of_overdue_ticket,
    ReviewModerated: of_support.of_moderated_review,
}
EXPORTED = [
    table_section("mails", DELIVERIES, "user_id", without=("user_id", "to_hash", "sealed", "provider_id")),
    table_section("notifications", NOTIFICATIONS, "user_id", without=("user_id",)),
    table_section("digest_items", DIGEST_ITEMS, "user_id", without=("user_id",)),
    table_section("webhooks", WEBHOOKS, "user_id", without=("user_id", "sealed")),
    table_section("webhook_messages", WEBHOOK_DELIVERIES, "user_id", without=("user_id",)),
    table_section("notification_preferences", PREFERENCES, "user_id", key="user_id", without=("user_id",)),
    table_section("support_staff", SUPPORT_STAFF, "user_id", key="user_id", without=("user_id",)),
    table_section("notification_recipient", RECIPIENTS, "user_id", key="user_id", without=("user_id",)),
]


def phone_section(phones: Phones) -> Section:
    """Return the section of an export with the person's phone."""

    def rows(session: Session, account_id: str, after: str | int | None, _limit: int) -> list[Row]:
        number, is_confirmed = phones.find(session, account_id)
        if number is None or after is not None:
            return []
        return [(account_id, {"number": number, "is_confirmed": is_confirmed})]

    return Section("phone", rows)


def consumes(desk: Desk, phones: Phones, analytics: Analytics) -> Consumers:
    """Return what the service does with each event."""
    return {
        **{kind: partial(_deliver, desk, make) for kind, make in NOTICES.items()},
        OrderPlaced: partial(tell_and_measure_orders, desk, analytics),
        MailRequested: partial(queue_mails, desk),
        AccountCreated: partial(keep_and_measure_accounts, analytics),
        AccountChanged: keep_accounts,
        AccountDeleted: partial(forget_people, desk),
        StaffChanged: of_support.keep_staff,
        **exporting("notifications", [*EXPORTED, phone_section(phones)]),
    }


def tell_and_measure_orders(
    desk: Desk, analytics: Analytics, session: Session, events: Sequence[OrderPlaced]
) -> None:
    _deliver(desk, of_placed_order, session, events)
    for event in events:
        analytics.add_purchase(
            session, event.user_id, event.order_id, event.total_minor, event.currency, event.updated
        )


def _deliver(desk: Desk, make: MakeNotices, session: Session, events: Sequence[Any]) -> None:
    desk.deliver(session, [notice for event in events for notice in make(session, event)])
