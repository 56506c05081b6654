"""Reads the events in a service's outbox, where they stay while no subscriber runs."""

from typing import Any

from sqlalchemy import select

from shared.data.database import Database
from shared.events import EventTables
from shared.events.event import Envelope

RECORDED = "action.recorded"


def told(database_url: str, tables: EventTables) -> list[Envelope]:
    """Return each event once, oldest first."""
    database = Database(database_url, pool_size=1)
    try:
        with database.transaction(write=False) as session:
            bodies = session.connection().execute(select(tables.outbox.c.body).order_by(tables.outbox.c.seq))
            envelopes = [Envelope.model_validate_json(body) for body in bodies.scalars()]
    finally:
        database.close()
    return [*{one.id: one for one in envelopes}.values()]


def events(database_url: str, tables: EventTables) -> list[Envelope]:
    """Return all events except action records."""
    return [one for one in told(database_url, tables) if one.topic != RECORDED]


def account_events(database_url: str, tables: EventTables) -> list[Envelope]:
    """Return the events about accounts, without those that ask for mails, which a worker adds later."""
    return [one for one in told(database_url, tables) if one.topic.startswith("account.")]


def records(database_url: str, tables: EventTables) -> list[dict[str, Any]]:
    """Return the data of all action records."""
    return [one.data for one in told(database_url, tables) if one.topic == RECORDED]
