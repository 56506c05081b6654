"""The tables of the notifications service."""

from datetime import datetime

from sqlalchemy import Index, Text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from services.notifications.languages import TAG_CHARACTERS_MAX
from services.notifications.mail.templates import VERSION_CHARACTERS
from shared.clock import now
from shared.data.database import UtcDateTime, rows_where
from shared.data.tables import NOT_VALIDATED, table_of
from shared.events import EventTables
from shared.http.idempotency import IdempotencyStore
from shared.ids import new_id
from shared.work.jobs import JobTables

ID_CHARACTERS = 36
TITLE_CHARACTERS_MAX = 200
CONTENT_CHARACTERS_MAX = 2_000
ERROR_CHARACTERS_MAX = 500
DEDUPE_KEY_CHARACTERS_MAX = 100


class Table(SQLModel, registry=registry()):
    """The base of this service's tables, with their own metadata."""

    model_config = NOT_VALIDATED


class Notification(Table, table=True):
    """A notification to one person. `data` is a JSON object of the ids that it is about.

    One that has expired is shown to nobody, and soon deleted.
    """

    __tablename__ = "notifications"
    __table_args__ = (
        Index("ix_notifications_user_id_id", "user_id", "id"),
        Index("ix_notifications_user_id_type_id", "user_id", "type", "id"),
        Index("ix_notifications_user_id_is_read_id", "user_id", "is_read", "id"),
        Index("ix_notifications_user_id_type_is_read_id", "user_id", "type", "is_read", "id"),
        Index("ix_notifications_expires", "expires", **rows_where("expires IS NOT NULL")),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    user_id: str = Field(max_length=ID_CHARACTERS)
    type: str = Field(max_length=50)
    title: str = Field(max_length=TITLE_CHARACTERS_MAX)
    content: str = Field(sa_type=Text)
    severity: str = Field(max_length=10)
    data: str = Field(sa_type=Text)
    is_read: bool = False
    read_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    expires: datetime | None = Field(default=None, sa_type=UtcDateTime)


class UsedKey(Table, table=True):
    """The `dedupe_key` of a message that a person was sent; a second one with this key is not sent."""

    __tablename__ = "used_keys"
    __table_args__ = (Index("ix_used_keys_user_id_dedupe_key", "user_id", "dedupe_key", unique=True),)

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    user_id: str = Field(max_length=ID_CHARACTERS)
    dedupe_key: str = Field(max_length=DEDUPE_KEY_CHARACTERS_MAX)


class Preferences(Table, table=True):
    """The choices of one person that differ from the defaults: a JSON object of type, channel and choice.

    The other columns say when mails of notifications may arrive, and in which language.
    """

    __tablename__ = "preferences"

    user_id: str = Field(primary_key=True, max_length=ID_CHARACTERS)
    choices: str = Field(sa_type=Text)
    quiet_from: str = Field(default="00:00", max_length=5, sa_column_kwargs={"server_default": "00:00"})
    quiet_to: str = Field(default="00:00", max_length=5, sa_column_kwargs={"server_default": "00:00"})
    zone: str = Field(default="UTC", max_length=50, sa_column_kwargs={"server_default": "UTC"})
    digest: str = Field(default="none", max_length=10, sa_column_kwargs={"server_default": "none"})
    language: str | None = Field(default=None, max_length=TAG_CHARACTERS_MAX)
    updated: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class Recipient(Table, table=True):
    """What this service knows of an account. The row of a deleted account has no address, and stays a while.

    `joined` is when it was created; older versions of this service did not keep it.

    Events of other services may arrive after the account's deletion, and must not cause notifications.
    """

    __tablename__ = "recipients"
    __table_args__ = (
        Index("ix_recipients_role_user_id", "role", "user_id"),
        Index("ix_recipients_deleted", "deleted", **rows_where("deleted IS NOT NULL")),
    )

    user_id: str = Field(primary_key=True, max_length=ID_CHARACTERS)
    email: str | None = Field(default=None, max_length=320)
    email_verified: bool = False
    role: str = Field(max_length=20)
    status: str = Field(max_length=20)
    joined: datetime | None = Field(default=None, sa_type=UtcDateTime)
    updated: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    deleted: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Phone(Table, table=True):
    """The phone of an account, sealed. Its owner confirms it by the code that was sent to it.

    The code is kept as an HMAC; `wrong` counts the codes that were not right.
    """

    __tablename__ = "phones"

    user_id: str = Field(primary_key=True, max_length=ID_CHARACTERS)
    sealed: str = Field(sa_type=Text)
    confirmed: datetime | None = Field(default=None, sa_type=UtcDateTime)
    code_hash: str | None = Field(default=None, max_length=64)
    code_expires: datetime | None = Field(default=None, sa_type=UtcDateTime)
    wrong: int = 0
    updated: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class SupportStaff(Table, table=True):
    """An account that is support staff without being an admin."""

    __tablename__ = "support_staff"

    user_id: str = Field(primary_key=True, max_length=ID_CHARACTERS)
    since: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class Delivery(Table, table=True):
    """A mail or text message to one address. Address and content are sealed, and kept only until it is sent.

    `planned` is the earliest time to send what respects quiet hours; others have none. `provider_id` is the
    provider's id of what was sent. `language` and `text_version` name the text, which the content contains.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        Index("ix_deliveries_state_id", "state", "id"),
        Index("ix_deliveries_user_id_id", "user_id", "id"),
        Index("ix_deliveries_user_id_state_id", "user_id", "state", "id"),
        Index("ix_deliveries_to_hash_id", "to_hash", "id"),
        Index("ix_deliveries_channel_id", "channel", "id"),
        Index(
            "ix_deliveries_provider_id", "provider_id", unique=True, **rows_where("provider_id IS NOT NULL")
        ),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    user_id: str | None = Field(default=None, max_length=ID_CHARACTERS)
    channel: str = Field(max_length=10)
    template: str = Field(max_length=50)
    to_hash: str = Field(max_length=64)
    sealed: str | None = Field(default=None, sa_type=Text)
    state: str = Field(max_length=10)
    attempts: int = 0
    code: str | None = Field(default=None, max_length=50)
    error: str | None = Field(default=None, max_length=ERROR_CHARACTERS_MAX)
    expires: datetime | None = Field(default=None, sa_type=UtcDateTime)
    planned: datetime | None = Field(default=None, sa_type=UtcDateTime)
    provider_id: str | None = Field(default=None, max_length=100)
    language: str | None = Field(default=None, max_length=TAG_CHARACTERS_MAX)
    text_version: str | None = Field(default=None, max_length=VERSION_CHARACTERS)
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    finished: datetime | None = Field(default=None, sa_type=UtcDateTime)


class DigestItem(Table, table=True):
    """A notification that waits for the next digest of its recipient."""

    __tablename__ = "digest_items"
    __table_args__ = (Index("ix_digest_items_user_id_id", "user_id", "id"),)

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    user_id: str = Field(max_length=ID_CHARACTERS)
    type: str = Field(max_length=50)
    title: str = Field(max_length=TITLE_CHARACTERS_MAX)
    content: str = Field(sa_type=Text)
    url: str | None = Field(default=None, sa_type=Text)
    expires: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Attempt(Table, table=True):
    """One attempt at a delivery, written before it is made. It has no end while running, or if killed."""

    __tablename__ = "attempts"

    delivery_id: str = Field(primary_key=True, max_length=ID_CHARACTERS)
    number: int = Field(primary_key=True)
    started: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    finished: datetime | None = Field(default=None, sa_type=UtcDateTime)
    outcome: str | None = Field(default=None, max_length=10)
    code: str | None = Field(default=None, max_length=50)
    error: str | None = Field(default=None, max_length=ERROR_CHARACTERS_MAX)


class Suppression(Table, table=True):
    """A reason for which nothing is sent to an address, which is stored only as a hash.

    An address has a row for each reason. `by` is the admin who added it. Without `until` it does not end.
    """

    __tablename__ = "suppressions"
    __table_args__ = (
        Index("ix_suppressions_to_hash_reason", "to_hash", "reason", unique=True),
        Index("ix_suppressions_channel_id", "channel", "id"),
        Index("ix_suppressions_reason_id", "reason", "id"),
        Index("ix_suppressions_channel_reason_id", "channel", "reason", "id"),
        Index("ix_suppressions_until", "until", **rows_where("until IS NOT NULL")),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    to_hash: str = Field(max_length=64)
    channel: str = Field(max_length=10)
    reason: str = Field(max_length=20)
    by: str | None = Field(default=None, max_length=ID_CHARACTERS)
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    until: datetime | None = Field(default=None, sa_type=UtcDateTime)


class ProviderEvent(Table, table=True):
    """An event of a mail provider that was applied."""

    __tablename__ = "provider_events"
    __table_args__ = (Index("ix_provider_events_received", "received"),)

    id: str = Field(primary_key=True, max_length=100)
    received: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class MailText(Table, table=True):
    """The text of a template that an admin has changed."""

    __tablename__ = "mail_texts"

    name: str = Field(primary_key=True, max_length=50)
    subject: str = Field(sa_type=Text)
    body: str = Field(sa_type=Text)
    version: int = 1
    by: str = Field(max_length=ID_CHARACTERS)
    updated: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class Webhook(Table, table=True):
    """A URL that is called for one account. `types` is a JSON list; the secrets are sealed together.

    `failing_since` is the first failure after the last success. After several failures in a row the URL is
    not called until `open_until`.
    """

    __tablename__ = "webhooks"
    __table_args__ = (Index("ix_webhooks_user_id_id", "user_id", "id"),)

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    user_id: str = Field(max_length=ID_CHARACTERS)
    url: str = Field(max_length=2_048)
    description: str = Field(max_length=200)
    types: str = Field(sa_type=Text)
    is_enabled: bool = True
    disabled_because: str | None = Field(default=None, max_length=20)
    sealed: str = Field(sa_type=Text)
    rotated: datetime | None = Field(default=None, sa_type=UtcDateTime)
    failures: int = 0
    failing_since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    open_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    updated: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class WebhookDelivery(Table, table=True):
    """One message to one webhook. Its id is the `webhook-id`, the same in each attempt and replay."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        Index("ix_webhook_deliveries_webhook_id_id", "webhook_id", "id"),
        Index("ix_webhook_deliveries_webhook_id_state_id", "webhook_id", "state", "id"),
        Index("ix_webhook_deliveries_webhook_id_type_id", "webhook_id", "type", "id"),
        Index("ix_webhook_deliveries_user_id_id", "user_id", "id"),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    webhook_id: str = Field(max_length=ID_CHARACTERS)
    user_id: str = Field(max_length=ID_CHARACTERS)
    type: str = Field(max_length=50)
    body: str = Field(sa_type=Text)
    state: str = Field(max_length=10)
    attempts: int = 0
    code: str | None = Field(default=None, max_length=50)
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    finished: datetime | None = Field(default=None, sa_type=UtcDateTime)
    expires: datetime | None = Field(default=None, sa_type=UtcDateTime)


class WebhookAttempt(Table, table=True):
    """One call, written before it is made. Without an end it is running, or its process died."""

    __tablename__ = "webhook_attempts"

    delivery_id: str = Field(primary_key=True, max_length=ID_CHARACTERS)
    number: int = Field(primary_key=True)
    started: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    finished: datetime | None = Field(default=None, sa_type=UtcDateTime)
    outcome: str | None = Field(default=None, max_length=10)
    code: str | None = Field(default=None, max_length=50)
    status: int | None = None


NOTIFICATIONS = table_of(Notification)
USED_KEYS = table_of(UsedKey)
PREFERENCES = table_of(Preferences)
RECIPIENTS = table_of(Recipient)
PHONES = table_of(Phone)
SUPPORT_STAFF = table_of(SupportStaff)
DELIVERIES = table_of(Delivery)
DIGEST_ITEMS = table_of(DigestItem)
ATTEMPTS = table_of(Attempt)
SUPPRESSIONS = table_of(Suppression)
PROVIDER_EVENTS = table_of(ProviderEvent)
MAIL_TEXTS = table_of(MailText)
WEBHOOKS = table_of(Webhook)
WEBHOOK_DELIVERIES = table_of(WebhookDelivery)
WEBHOOK_ATTEMPTS = table_of(WebhookAttempt)
IDEMPOTENCY = IdempotencyStore(Table.metadata)
EVENTS = EventTables(Table.metadata)
WORK = JobTables(Table.metadata)
JOBS = WORK.jobs
