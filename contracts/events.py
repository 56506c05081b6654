"""All events of the suite, and their subscribers."""

from datetime import datetime
from typing import Any

from contracts.boxes import BoxStopped
from contracts.deliveries import DeliveryBounced, DeliveryFailed
from contracts.invoices import InvoiceIssued
from contracts.support import (
    ReviewDeleted,
    ReviewModerated,
    ReviewWritten,
    StaffChanged,
    TicketChanged,
    TicketDeleted,
    TicketOpened,
    TicketOverdue,
    TicketReplied,
)
from shared.events import Event, Recorded, Subscriber


class AccountState(Event):
    """The account after the change."""

    key = "account_id"
    source = "auth"

    account_id: str
    email: str | None
    username: str | None
    role: str
    status: str
    first_name: str | None
    last_name: str | None
    created: datetime
    updated: datetime
    email_verified: bool = False
    names_changed: bool = False  # changed at auth; otherwise the profile's first and last name are newer


class AccountCreated(AccountState):
    """Someone registered, or an admin created an account."""

    topic = "account.created"


class AccountChanged(AccountState):
    """The e-mail address, a name, the role or the status of an account changed."""

    topic = "account.changed"


class AccountDeleted(Event):
    """An account was deleted. Services that store personal data of its user delete or anonymise it."""

    topic = "account.deleted"
    key = "account_id"
    source = "auth"

    account_id: str
    deleted: datetime


class ExportRequested(Event):
    """Someone asked for all data about themselves; every service responds with its part (exports.py)."""

    topic = "export.requested"
    key = "export_id"
    source = "auth"

    export_id: str
    account_id: str


class _OfOneService(Event):
    """An event that a service may send only about itself."""

    key = "export_id"

    service: str
    export_id: str

    @classmethod
    def may_come_from(cls, source: str, data: dict[str, Any]) -> bool:
        return data.get("service") == source


class ExportContinued(_OfOneService):
    """A service has sent a portion of its part. It sends the next one when this event comes back to it."""

    topic = "export.continued"

    account_id: str
    section: int
    after: str | int | None
    number: int
    sent: int
    sent_bytes: int = 0


class ExportPart(_OfOneService):
    """A piece of a service's part of an export: text that continues the previous piece of its section.

    The last piece of each service has no content. `is_cut` says that a section was longer than allowed.
    """

    topic = "export.part"

    number: int
    section: str = ""
    content: str = ""
    is_last: bool = False
    is_cut: bool = False


class MailRequested(Event):
    """A mail must be sent now, to this address only; `template` names its text, `values` fill it in.

    The `link` is as sensitive as a password until it expires, so it is sealed: see contracts/links.py.
    """

    topic = "mail.requested"
    key = "mail_id"
    source = "auth"

    mail_id: str
    template: str
    email: str
    account_id: str | None
    link: str | None
    expires: datetime | None
    values: dict[str, str]
    created: datetime


class OrderState(Event):
    """The order after the change."""

    key = "order_id"
    source = "orders"

    order_id: str
    user_id: str
    status: str
    product_name: str
    quantity: int
    total_minor: int
    currency: str
    updated: datetime


class OrderPlaced(OrderState):
    """Someone placed an order."""

    topic = "order.placed"


class OrderChanged(OrderState):
    """The content or the status of an order changed; compare `status` with `status_before`."""

    topic = "order.changed"

    status_before: str


class OrderDeleted(Event):
    """A pending or cancelled order was deleted."""

    topic = "order.deleted"
    key = "order_id"
    source = "orders"

    order_id: str
    user_id: str


class ProductChanged(Event):
    """A product was added, changed or archived."""

    topic = "product.changed"
    key = "product_id"
    source = "orders"

    product_id: str
    sku: str
    name: str
    price_minor: int
    currency: str
    status: str
    updated: datetime


class ProductDeleted(Event):
    """A product was deleted; no order and no stock move names it."""

    topic = "product.deleted"
    key = "product_id"
    source = "orders"

    product_id: str
    sku: str


class StockChanged(Event):
    """The stock of a product changed; the numbers are those over all its locations after the change."""

    topic = "stock.changed"
    key = "product_id"
    source = "orders"

    product_id: str
    on_hand: int
    reserved: int


class StockLow(Event):
    """The free pieces of a product fell to its limit or below; emitted once until they rise above it."""

    topic = "stock.low"
    key = "product_id"
    source = "orders"

    product_id: str
    sku: str
    name: str
    available: int
    low_at: int


class ProfileChanged(Event):
    """Someone changed their profile or settings. `fields` lists the changed fields, without their values."""

    topic = "profile.changed"
    key = "user_id"
    source = "users"

    user_id: str
    fields: tuple[str, ...]


class SettingChanged(Event):
    """A setting was stored, changed or deleted. Values are read through the internal API of users.

    `user_id` is null for settings of the system.
    """

    topic = "setting.changed"
    key = "setting"
    source = "users"

    setting: str
    user_id: str | None
    is_sealed: bool
    is_deleted: bool


class FileUploaded(Event):
    """A file is complete and stored."""

    topic = "file.uploaded"
    key = "file_id"
    source = "files"

    file_id: str
    user_id: str
    name: str
    size: int
    mime_type: str
    sha256: str


class FileChanged(Event):
    """The name, visibility or metadata of a file changed, or it was restored from the trash."""

    topic = "file.changed"
    key = "file_id"
    source = "files"

    file_id: str
    user_id: str
    name: str
    visibility: str


class FileDeleted(Event):
    """A file was moved to the trash, or permanently deleted if `permanent` is set."""

    topic = "file.deleted"
    key = "file_id"
    source = "files"

    file_id: str
    user_id: str
    permanent: bool


class SyncFinished(Event):
    """A sync of AWS accounts ended: completed, partial or failed.

    The first scan of an account and region emits no `workspace.found` events. `gone` counts everything that
    AWS no longer lists, such as prices; `workspaces_gone` counts only WorkSpaces.
    """

    topic = "sync.finished"
    key = "sync_id"
    source = "inventory"

    sync_id: str
    kind: str
    state: str
    seen: int
    changed: int
    gone: int
    accounts: tuple[str, ...]
    workspaces_gone: int = 0


class WorkspaceFound(Event):
    """A sync found a WorkSpace for the first time."""

    topic = "workspace.found"
    key = "workspace_id"
    source = "inventory"

    workspace_id: str
    account: str
    region: str
    user_name: str
    state: str
    running_mode: str | None


class WorkspaceChanged(Event):
    """A sync found that a WorkSpace has changed.

    `fields` lists every changed field; `before` and `after` omit tags and timestamps.
    """

    topic = "workspace.changed"
    key = "workspace_id"
    source = "inventory"

    workspace_id: str
    fields: tuple[str, ...]
    before: dict[str, str | int | None]
    after: dict[str, str | int | None]


class WorkspaceGone(Event):
    """A complete scan of the region no longer found this WorkSpace."""

    topic = "workspace.gone"
    key = "workspace_id"
    source = "inventory"

    workspace_id: str
    account: str
    region: str
    user_name: str


# Declared in files of their own, and part of the catalogue.
OF_SUPPORT = (
    *(TicketOpened, TicketChanged, TicketReplied, TicketOverdue, TicketDeleted),
    *(ReviewWritten, ReviewModerated, ReviewDeleted),
    StaffChanged,
)
OF_DELIVERIES = (DeliveryFailed, DeliveryBounced)
_EXPORTS = (ExportRequested, ExportContinued)

# Services that are not listed receive nothing. The URLs are those of a suite on one machine; NAME_URL
# overrides them.
SUBSCRIBERS = {
    "auth": Subscriber("http://127.0.0.1:8083", ExportPart, *_EXPORTS),
    "users": Subscriber("http://127.0.0.1:8081", AccountCreated, AccountChanged, AccountDeleted, *_EXPORTS),
    "orders": Subscriber("http://127.0.0.1:8082", AccountDeleted, *_EXPORTS),
    "files": Subscriber("http://127.0.0.1:8084", AccountDeleted, *_EXPORTS),
    "terminal": Subscriber("http://127.0.0.1:8087", AccountChanged, AccountDeleted, *_EXPORTS),
    "audit": Subscriber("http://127.0.0.1:8085", Recorded, AccountDeleted, *_EXPORTS),
    "inventory": Subscriber("http://127.0.0.1:8086", AccountDeleted, *_EXPORTS),
    "support": Subscriber("http://127.0.0.1:8089", AccountDeleted, *_EXPORTS),
    "notifications": Subscriber(
        "http://127.0.0.1:8088",
        AccountCreated,
        AccountChanged,
        AccountDeleted,
        MailRequested,
        OrderPlaced,
        OrderChanged,
        InvoiceIssued,
        *(StockLow, SyncFinished),
        *(TicketOpened, TicketChanged, TicketReplied, TicketOverdue),
        ReviewModerated,
        StaffChanged,
        BoxStopped,
        *_EXPORTS,
    ),
}
