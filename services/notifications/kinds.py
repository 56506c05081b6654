"""The types of notifications, the channels by which they reach people, and what is on by default."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from services.notifications.mail.templates import INVOICE, NOTICE, TICKET


class Channel(StrEnum):
    """A way by which a notification reaches a person."""

    IN_APP = "in_app"
    EMAIL = "email"
    SMS = "sms"


# A text message costs money and wakes people, so everybody chooses for which types they want one.
USUAL = frozenset((Channel.IN_APP, Channel.EMAIL))


class NoticeType(StrEnum):
    """What a notification is about."""

    ORDER_PLACED = "order.placed"
    ORDER_CHANGED = "order.changed"
    INVOICE_ISSUED = "invoice.issued"
    SYNC_FAILED = "sync.failed"
    WORKSPACE_GONE = "workspace.gone"
    STOCK_LOW = "stock.low"
    SECURITY_ALERT = "security.alert"
    EXPORT_READY = "export.ready"
    TICKET_OPENED = "ticket.opened"
    TICKET_REPLIED = "ticket.replied"
    TICKET_CHANGED = "ticket.changed"
    TICKET_OVERDUE = "ticket.overdue"
    REVIEW_MODERATED = "review.moderated"
    BOX_STOPPED = "box.stopped"
    WEBHOOK_DISABLED = "webhook.disabled"
    MESSAGE = "message"
    ANNOUNCEMENT = "announcement"


class Severity(StrEnum):
    """How urgent a notification is."""

    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Kind:
    """When notifications of a type are made, the channels that are on by default, and those that stay on.

    `has_mail` says that another service asks for the mail itself, with a text of its own. Other mails use
    the text `template`.
    """

    description: str
    on: frozenset[Channel] = USUAL
    fixed: frozenset[Channel] = frozenset()
    has_mail: bool = False
    template: str = NOTICE


KINDS: Mapping[NoticeType, Kind] = {
    NoticeType.ORDER_PLACED: Kind("You placed an order."),
    NoticeType.ORDER_CHANGED: Kind("The status of one of your orders changed."),
    NoticeType.INVOICE_ISSUED: Kind(
        "An invoice or a credit note of one of your orders was issued.", template=INVOICE
    ),
    NoticeType.SYNC_FAILED: Kind("A sync of the AWS accounts failed; only admins receive this."),
    NoticeType.WORKSPACE_GONE: Kind("AWS no longer lists some WorkSpaces; only admins receive this."),
    NoticeType.STOCK_LOW: Kind("The stock of a product is low; only admins receive this."),
    NoticeType.SECURITY_ALERT: Kind(
        "A change to the security of your account. Act on it if it was not you.",
        fixed=USUAL,
        has_mail=True,
    ),
    NoticeType.EXPORT_READY: Kind("The export of your data is ready.", fixed=USUAL, has_mail=True),
    NoticeType.TICKET_OPENED: Kind(
        "Someone opened a support ticket; only staff receive this.", template=TICKET
    ),
    NoticeType.TICKET_REPLIED: Kind(
        "Support replied to your ticket, or, for staff, someone replied to support.", template=TICKET
    ),
    NoticeType.TICKET_CHANGED: Kind(
        "Support changed the status of your ticket, or, for staff, a solved ticket was opened again.",
        template=TICKET,
    ),
    NoticeType.TICKET_OVERDUE: Kind("A support ticket is overdue; only staff receive this.", template=TICKET),
    NoticeType.REVIEW_MODERATED: Kind("Your review was published, rejected or hidden."),
    # Boxes are stopped every day for being idle, so nobody gets mails about it without asking for them.
    NoticeType.BOX_STOPPED: Kind(
        "Your terminal box was stopped, but not by you: it was idle, its disk was full, an admin did it, "
        "or it was killed.",
        on=frozenset((Channel.IN_APP,)),
    ),
    NoticeType.WEBHOOK_DISABLED: Kind(
        "One of your webhooks failed for days, or returned 410, and was disabled.",
        fixed=frozenset((Channel.IN_APP,)),
    ),
    NoticeType.MESSAGE: Kind("An admin wrote to you.", fixed=frozenset((Channel.IN_APP,))),
    NoticeType.ANNOUNCEMENT: Kind(
        "An admin wrote to everybody, or to all admins.", fixed=frozenset((Channel.IN_APP,))
    ),
}
