"""What the background work of the service deletes, and what it keeps."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest

from services.notifications import duties
from services.notifications.app import create_app
from services.notifications.deliveries import State
from services.notifications.models import DELIVERIES, RECIPIENTS, WEBHOOK_DELIVERIES, WORK
from services.notifications.settings import Settings
from services.notifications.webhooks.outbox import Outbox
from shared.clock import now
from shared.data.database import Database
from shared.ids import first_id, new_id
from shared.testing import running
from shared.work.changes import Changes

SECONDS = 30


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    database = Database(settings.database_url, pool_size=2)
    yield database
    database.close()


def number_of(database: Database) -> tuple[int, int]:
    """Return how many messages to webhooks there are, and how much work.

    Work is read first. A duty deletes both in one transaction, but on PostgreSQL each statement sees what was
    committed before it: read the other way round, the work may be gone and its message still counted.
    """
    with database.transaction(write=False) as session:
        execute = session.connection().execute
        queued = len(execute(WORK.work.select().where(WORK.work.c.queue == "webhook")).all())
        return len(execute(WEBHOOK_DELIVERIES.select()).all()), queued


def test_old_mail_is_deleted_only_after_it_has_ended(settings: Settings, database: Database) -> None:
    old = {state: first_id(now(), -timedelta(days=91, seconds=n)) for n, state in enumerate(State)}
    row = {"channel": "email", "template": "notice", "to_hash": "x", "attempts": 0, "created": now()}
    with database.transaction() as session:
        rows = [{**row, "id": one, "state": state} for state, one in old.items()]
        session.connection().execute(DELIVERIES.insert(), rows)
    assert duties.delete_old_deliveries(database, timedelta(days=90)) == len(State) - 2
    with database.transaction(write=False) as session:
        left = {one.state for one in session.connection().execute(DELIVERIES.select())}

    assert left == {State.QUEUED, State.SENDING}


def test_message_stored_while_its_account_was_deleted_is_deleted_with_its_work(
    settings: Settings, database: Database
) -> None:
    outbox, gone, other = Outbox(settings, Changes()), new_id(), new_id()
    blank = {"email_verified": False, "role": "", "status": "deleted", "updated": now(), "deleted": now()}
    with database.transaction() as session:
        session.connection().execute(RECIPIENTS.insert(), {"user_id": gone, **blank})
        for user_id in (gone, other):
            outbox.add(session, [new_id()], user_id, "order.placed", {})
    assert duties.delete_late_messages(database, outbox) == 1

    assert number_of(database) == (1, 1)


async def test_message_of_a_deleted_webhook_is_deleted_when_it_is_due(
    settings: Settings, database: Database
) -> None:
    with database.transaction() as session:
        Outbox(settings, Changes()).add(session, [new_id()], new_id(), "order.placed", {})
    async with running(create_app, settings), asyncio.timeout(SECONDS):
        while True:
            left = number_of(database)
            if left[1] == 0:
                break
            await asyncio.sleep(0.02)

    assert left == (0, 0)
