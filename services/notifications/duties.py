"""The background work of the notifications service."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import Column, Select, Table, delete, select

from services.notifications.deliveries import ENDED as DELIVERY_ENDED
from services.notifications.digests import Digests
from services.notifications.mail.provider_events import EVENTS_KEPT
from services.notifications.models import (
    ATTEMPTS,
    DELIVERIES,
    DIGEST_ITEMS,
    NOTIFICATIONS,
    PHONES,
    PROVIDER_EVENTS,
    RECIPIENTS,
    SUPPORT_STAFF,
    SUPPRESSIONS,
    USED_KEYS,
    WEBHOOK_ATTEMPTS,
    WEBHOOK_DELIVERIES,
    WEBHOOKS,
    WORK,
)
from services.notifications.settings import Settings
from services.notifications.webhooks.outbox import ENDED, Outbox
from shared.clock import now
from shared.data.database import Database
from shared.data.sealed import SealedColumn
from shared.ids import first_id
from shared.work.duties import Duties, Duty, IsStopping
from shared.work.leased import Queue

TIDY_SECONDS = 3600
DIGEST_SECONDS = 20
EXPIRY_SECONDS = 60
RENEW_SECONDS = 24 * 3600
BATCH_ROWS = 500
# How long after the deletion of an account events about it may still arrive.
DELETED_KEPT = timedelta(days=90)


def duties(
    database: Database,
    settings: Settings,
    *,
    sealed: Iterable[SealedColumn],
    queues: Sequence[Queue],
    outbox: Outbox,
    digests: Digests,
) -> Duties:
    def tidy(is_stopping: IsStopping) -> None:
        kept = timedelta(days=settings.notification_days)
        for delete_some in (
            partial(delete_old_notifications, database, kept),
            partial(delete_old_deliveries, database, kept),
            partial(delete_old_messages, database, kept),
            partial(delete_old_suppressions, database),
            partial(delete_old_events, database),
            partial(delete_late_rows, database, NOTIFICATIONS),
            partial(delete_late_rows, database, WEBHOOKS),
            partial(delete_late_rows, database, SUPPORT_STAFF),
            partial(delete_late_rows, database, PHONES),
            partial(delete_late_rows, database, DIGEST_ITEMS),
            partial(delete_late_rows, database, USED_KEYS),
            partial(delete_old_keys, database, kept),
            partial(delete_late_messages, database, outbox),
            partial(forget_deleted_accounts, database),
        ):
            while not is_stopping() and delete_some() == BATCH_ROWS:
                pass

    def expire(is_stopping: IsStopping) -> None:
        while not is_stopping() and delete_expired_notifications(database) == BATCH_ROWS:
            pass

    every = [
        Duty("tidy", TIDY_SECONDS, tidy, alone=True),
        Duty("expire", EXPIRY_SECONDS, expire, alone=True),
        Duty("digests", DIGEST_SECONDS, partial(digests.send_due, database), alone=True),
    ]
    for column, name in zip(sealed, ("renew_mails", "renew_webhooks", "renew_phones"), strict=True):
        every.append(Duty(name, RENEW_SECONDS, partial(column.renew, database), alone=True))
    return Duties(database, every, WORK, queues=queues)


def delete_old_notifications(database: Database, kept: timedelta) -> int:
    """Delete a batch of the oldest notifications, read or not, and return how many there were."""
    old = select(NOTIFICATIONS.c.id).where(NOTIFICATIONS.c.id < first_id(now(), -kept))
    some = old.order_by(NOTIFICATIONS.c.id).limit(BATCH_ROWS)
    return _delete(database, NOTIFICATIONS.c.id, some)


def delete_expired_notifications(database: Database) -> int:
    """Delete a batch of notifications that have expired."""
    over = select(NOTIFICATIONS.c.id).where(NOTIFICATIONS.c.expires <= now())
    return _delete(database, NOTIFICATIONS.c.id, over.order_by(NOTIFICATIONS.c.expires).limit(BATCH_ROWS))


def delete_old_keys(database: Database, kept: timedelta) -> int:
    """Delete a batch of the oldest keys of messages; their messages are deleted as well by now."""
    old = select(USED_KEYS.c.id).where(USED_KEYS.c.id < first_id(now(), -kept))
    return _delete(database, USED_KEYS.c.id, old.order_by(USED_KEYS.c.id).limit(BATCH_ROWS))


def delete_old_deliveries(database: Database, kept: timedelta) -> int:
    """Delete a batch of the oldest deliveries that have ended, with their attempts."""
    old = select(DELIVERIES.c.id).where(
        DELIVERIES.c.id < first_id(now(), -kept), DELIVERIES.c.state.in_(DELIVERY_ENDED)
    )
    with database.transaction() as session:
        execute = session.connection().execute
        ids = list(execute(old.order_by(DELIVERIES.c.id).limit(BATCH_ROWS)).scalars())
        execute(delete(ATTEMPTS).where(ATTEMPTS.c.delivery_id.in_(ids)))
        execute(delete(DELIVERIES).where(DELIVERIES.c.id.in_(ids)))
    return len(ids)


def delete_old_suppressions(database: Database) -> int:
    """Delete a batch of suppressions that have ended."""
    over = select(SUPPRESSIONS.c.id).where(SUPPRESSIONS.c.until <= now())
    return _delete(database, SUPPRESSIONS.c.id, over.order_by(SUPPRESSIONS.c.until).limit(BATCH_ROWS))


def delete_old_events(database: Database) -> int:
    """Delete a batch of the oldest events of providers."""
    table = PROVIDER_EVENTS.c
    old = select(table.id).where(table.received < now() - EVENTS_KEPT)
    return _delete(database, table.id, old.order_by(table.received).limit(BATCH_ROWS))


def delete_old_messages(database: Database, kept: timedelta) -> int:
    """Delete a batch of the oldest messages to webhooks that have ended, with their attempts."""
    table = WEBHOOK_DELIVERIES
    old = select(table.c.id).where(table.c.id < first_id(now(), -kept), table.c.state.in_(ENDED))
    with database.transaction() as session:
        execute = session.connection().execute
        ids = list(execute(old.order_by(table.c.id).limit(BATCH_ROWS)).scalars())
        execute(delete(WEBHOOK_ATTEMPTS).where(WEBHOOK_ATTEMPTS.c.delivery_id.in_(ids)))
        execute(delete(table).where(table.c.id.in_(ids)))
    return len(ids)


def delete_late_rows(database: Database, table: Table) -> int:
    """Delete a batch of rows that were stored while their account was being deleted."""
    return _delete(database, _key(table), _late(table))


def delete_late_messages(database: Database, outbox: Outbox) -> int:
    """Delete a batch of messages to webhooks that were stored while their account was being deleted."""
    with database.transaction() as session:
        ids = list(session.connection().execute(_late(WEBHOOK_DELIVERIES)).scalars())
        outbox.delete(session, ids)
    return len(ids)


def _late(table: Table) -> Select[Any]:
    gone = RECIPIENTS.c.deleted > now() - timedelta(seconds=2 * TIDY_SECONDS)
    joined = table.join(RECIPIENTS, table.c.user_id == RECIPIENTS.c.user_id)
    return select(_key(table)).select_from(joined).where(gone).limit(BATCH_ROWS)


def _key(table: Table) -> Column[Any]:
    (key,) = table.primary_key
    return key


def forget_deleted_accounts(database: Database) -> int:
    """Delete a batch of accounts that were deleted long ago."""
    old = select(RECIPIENTS.c.user_id).where(RECIPIENTS.c.deleted < now() - DELETED_KEPT)
    return _delete(database, RECIPIENTS.c.user_id, old.order_by(RECIPIENTS.c.deleted).limit(BATCH_ROWS))


def _delete(database: Database, key: Column[Any], some: Select[Any]) -> int:
    with database.transaction() as session:
        number: int = session.connection().execute(delete(key.table).where(key.in_(some))).rowcount
    return number
