"""Every event of the suite, and who is told of it."""

from datetime import datetime

from shared.events import Event, Recorded, Subscriber


class AccountState(Event):
    """An account as it is after the change."""

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


class AccountCreated(AccountState):
    """Somebody registered, or an admin made an account."""

    topic = "account.created"


class AccountChanged(AccountState):
    """The e-mail address, a name, the role or the status of an account changed."""

    topic = "account.changed"


class AccountDeleted(Event):
    """An account was deleted: whoever keeps what belongs to the person deletes it or makes it anonymous."""

    topic = "account.deleted"
    key = "account_id"
    source = "auth"

    account_id: str
    deleted: datetime


class MailRequested(Event):
    """A mail is to be sent now, to this address and no other; `template` says which, `values` fill it.

    The `link` is worth as much as a password until it expires, so it is sealed: see contracts/links.py.
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
    """An order as it is after the change."""

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
    """Somebody placed an order."""

    topic = "order.placed"


class OrderChanged(OrderState):
    """What was ordered changed, or the order took a step; `status_before` tells which."""

    topic = "order.changed"

    status_before: str


class OrderDeleted(Event):
    """A pending or cancelled order was deleted."""

    topic = "order.deleted"
    key = "order_id"
    source = "orders"

    order_id: str
    user_id: str


class ProfileChanged(Event):
    """Somebody changed their profile or their settings; `fields` names what changed, not to what."""

    topic = "profile.changed"
    key = "user_id"
    source = "users"

    user_id: str
    fields: tuple[str, ...]


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
    """The name, the visibility or the metadata of a file changed, or it came back from the trash."""

    topic = "file.changed"
    key = "file_id"
    source = "files"

    file_id: str
    user_id: str
    name: str
    visibility: str


class FileDeleted(Event):
    """A file went to the trash, or for good when `permanent`."""

    topic = "file.deleted"
    key = "file_id"
    source = "files"

    file_id: str
    user_id: str
    permanent: bool


class SyncFinished(Event):
    """A sync of AWS accounts has ended: completed, partial or failed. On a first one nothing else is told."""

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


class WorkspaceFound(Event):
    """A sync found a WorkSpace that no earlier one had seen."""

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
    """A sync found a WorkSpace changed; `before` and `after` hold the fields that are short."""

    topic = "workspace.changed"
    key = "workspace_id"
    source = "inventory"

    workspace_id: str
    fields: tuple[str, ...]
    before: dict[str, str | int | None]
    after: dict[str, str | int | None]


class WorkspaceGone(Event):
    """AWS no longer lists a WorkSpace: a sync has read the whole region without it."""

    topic = "workspace.gone"
    key = "workspace_id"
    source = "inventory"

    workspace_id: str
    account: str
    region: str
    user_name: str


# Whoever is not listed is not told. The address is that of a suite on one machine; NAME_URL says another.
SUBSCRIBERS = {
    "users": Subscriber("http://127.0.0.1:8081", AccountCreated, AccountChanged, AccountDeleted),
    "orders": Subscriber("http://127.0.0.1:8082", AccountDeleted),
    "files": Subscriber("http://127.0.0.1:8084", AccountDeleted),
    "terminal": Subscriber("http://127.0.0.1:8087", AccountChanged, AccountDeleted),
    "audit": Subscriber("http://127.0.0.1:8085", Recorded, AccountDeleted),
    "inventory": Subscriber("http://127.0.0.1:8086", AccountDeleted),
}
