"""How the notifications service turns events of other services into notifications."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from sqlalchemy import delete
from sqlmodel import Session

from contracts.boxes import BoxStopped
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
from services.notifications.languages import Amount, Language, Term, Value
from services.notifications.mail.attachments import WantedInvoice
from services.notifications.mail.mails import Mail
from services.notifications.mail.templates import TEMPLATES
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
from services.notifications.preferences import timings_of
from services.notifications.sms.phones import Phones
from services.notifications.timing import DEFAULT
from services.notifications.wording import Phrase
from shared.clock import now
from shared.data.database import insert_into
from shared.events import Consumers
from shared.events.inbox import Poison
from shared.work.jobs import Jobs

MakeNotices = Callable[[Session, Any], Iterable[Notice]]

_SEVERITIES = {
    "confirmed": Severity.SUCCESS,
    "delivered": Severity.SUCCESS,
    "cancelled": Severity.WARNING,
}
# The mails of auth that are also said in the app, by texts of the same names.
ALERTS = (
    *("email_changed", "password_changed", "impersonated"),
    *("factor_added", "factor_removed", "provider_connected", "provider_disconnected"),
)
_BOX_SEVERITIES = {
    "idle": Severity.INFO,
    "admin": Severity.WARNING,
    "disk_full": Severity.WARNING,
    "killed": Severity.WARNING,
}
_OF_ALERTS = ("provider", "admin", "minutes")


def of_placed_order(_: Session, event: OrderPlaced) -> Iterator[Notice]:
    wording = Phrase("order_placed", {"product": event.product_name, "quantity": event.quantity})
    data = {"order_id": event.order_id}
    yield Notice(event.user_id, NoticeType.ORDER_PLACED, wording, Severity.SUCCESS, data)


def of_changed_order(_: Session, event: OrderChanged) -> Iterator[Notice]:
    """Notify the owner of the order's next step. Changes of its content cause no notification."""
    if event.status == event.status_before:
        return
    values: dict[str, Value] = {
        "product": event.product_name,
        "quantity": event.quantity,
        "step": event.status,
        "status": Term(event.status),
        "before": Term(event.status_before),
    }
    wording, severity = Phrase("order_changed", values), _SEVERITIES.get(event.status, Severity.INFO)
    data = {"order_id": event.order_id, "status": event.status}
    yield Notice(event.user_id, NoticeType.ORDER_CHANGED, wording, severity, data)


def of_issued_invoice(_: Session, event: InvoiceIssued) -> Iterator[Notice]:
    """Notify the owner of the order of an invoice or a credit note."""
    values: dict[str, Value] = {
        "document": Term(event.kind),
        "number": event.number,
        "amount": Amount(event.total_minor, event.currency),
    }
    yield Notice(
        event.user_id,
        NoticeType.INVOICE_ISSUED,
        Phrase("invoice_issued", values),
        data={"order_id": event.order_id, "number": event.number},
        invoice=WantedInvoice(event.invoice_id, event.number),
    )


def of_finished_sync(session: Session, event: SyncFinished) -> Iterator[Notice]:
    """Notify the admins of a failed sync, and once of all WorkSpaces that a sync found to be gone."""
    data = {"sync_id": event.sync_id}
    if event.state == "failed":
        wording = Phrase("sync_failed", {"kind": Term(event.kind)})
        for admin in notices.admins(session):
            yield Notice(admin, NoticeType.SYNC_FAILED, wording, Severity.ERROR, data)
    if event.workspaces_gone:
        wording = Phrase("workspace_gone", {"number": event.workspaces_gone})
        for admin in notices.admins(session):
            yield Notice(admin, NoticeType.WORKSPACE_GONE, wording, Severity.INFO, data)


def of_low_stock(session: Session, event: StockLow) -> Iterator[Notice]:
    """Notify the admins of a product of which few pieces are left."""
    values: dict[str, Value] = {"name": event.name, "sku": event.sku, "available": event.available}
    data = {"product_id": event.product_id, "sku": event.sku, "available": str(event.available)}
    for admin in notices.admins(session):
        wording = Phrase("stock_low", values)
        yield Notice(admin, NoticeType.STOCK_LOW, wording, Severity.WARNING, data)


def of_stopped_box(_: Session, event: BoxStopped) -> Iterator[Notice]:
    """Notify the owner of a box, unless they stopped it themselves or their account has ended."""
    if event.reason not in _BOX_SEVERITIES:
        return
    wording = Phrase("box_stopped", {"reason": event.reason, "stopped": event.stopped})
    data = {"box_id": event.box_id, "reason": event.reason}
    yield Notice(event.user_id, NoticeType.BOX_STOPPED, wording, _BOX_SEVERITIES[event.reason], data)


def of_mail(event: MailRequested) -> Iterator[Notice]:
    """Notify an account in the app of what a mail says, without the mail's link."""
    if event.template == "export_ready":
        kind, severity = NoticeType.EXPORT_READY, Severity.INFO
    elif event.template in ALERTS:
        kind, severity = NoticeType.SECURITY_ALERT, Severity.WARNING
    else:
        return
    assert event.account_id is not None
    values: dict[str, Value] = {name: event.values.get(name, "?") for name in _OF_ALERTS}
    values["factor"] = Term(event.values.get("factor", "?"))
    yield Notice(event.account_id, kind, Phrase(event.template, values), severity)


def queue_mails(desk: Desk, session: Session, events: Sequence[MailRequested]) -> None:
    """Queue the mails that auth asks for, and notify their accounts in the app as well."""
    gone = notices.deleted(session, {event.account_id for event in events if event.account_id is not None})
    for event in events:
        if event.template not in TEMPLATES:
            raise Poison(f"there is no template {event.template}; update the service, and replay this event")
    wanted = [event for event in events if event.account_id not in gone]
    timings = timings_of(session, {event.account_id for event in wanted if event.account_id is not None})
    languages = [desk.language_of(timings.get(event.account_id or "", DEFAULT)) for event in wanted]
    states = desk.mails.add_all(session, list(map(_mail, wanted, languages)))
    for event, state in zip(wanted, states, strict=True):
        if state is None and desk.mails.has(session, event.mail_id):
            continue  # known already
        if event.account_id is not None:
            desk.deliver(session, of_mail(event))


def _mail(event: MailRequested, language: Language) -> Mail:
    values: dict[str, Value] = {**event.values}
    if "factor" in event.values:
        values["factor"] = Term(event.values["factor"])
    return Mail(
        id=event.mail_id,
        template=event.template,
        to=event.email,
        values=values,
        language=language,
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
    BoxStopped: of_stopped_box,
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
