"""Undelivered events in the console."""

from datetime import timedelta

import pytest

from services.support.models import EVENTS
from shared.clock import now
from shared.data.bulk import insert_rows
from shared.data.database import Database
from shared.events.event import Envelope
from shared.events.parked import NEVER
from shared.ids import new_id
from tests.suite.accounts import PASSWORD, register
from tests.suite.conftest import Suite
from tests.suite.console.conftest import Browser
from tests.suite.console.seeding import PLANTED

pytestmark = pytest.mark.prove

LATER = timedelta(minutes=10)  # a longer pause counts as over: the clock may have been set back


def store(suite: Suite, accounts: list[str]) -> list[str]:
    """Let the deletion of these accounts be dead in support, except the first, which is to be retried."""
    events = [
        Envelope(
            id=new_id(),
            topic="account.deleted",
            version=1,
            key=f"account {account}",
            source="auth",
            time=now(),
            data={"account_id": account, "deleted": now()},
        )
        for account in accounts
    ]
    rows = [
        {
            "id": event.id,
            "topic": event.topic,
            "key": event.key,
            "body": event.model_dump_json(),
            "received": now() + timedelta(milliseconds=number),
            "due": NEVER if number else now() + LATER,
            "attempts": 8 if number else 3,
            "dead": number > 0,
            "blocks": False,
            "reason": f"OperationalError('{PLANTED[0]}')",
        }
        for number, event in enumerate(events)
    ]
    database = Database(f"sqlite:///{suite.data_dir}/support.db")
    with database.transaction() as session:
        insert_rows(session, EVENTS.parked, rows)
    database.close()
    return [event.id for event in events]


async def test_admins_replay_and_drop_dead_events(browser: Browser, console_suite: Suite) -> None:
    async with browser.client() as client:
        person = await register(client)
    accounts = [new_id() for _ in range(5)]
    ids = store(console_suite, accounts)

    seen = await browser.go(
        "events", user=[person.email, PASSWORD], planted=PLANTED, accounts=accounts[1:], ids=ids[1:]
    )

    assert seen["steps"] == [
        "saw which service has dead events, and which is down",
        "read an event, and replayed it",
        "replayed and dropped a selection",
        "saw it fail and come back",
        "is not there for users",
    ]
