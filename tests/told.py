"""What a service has to tell: the events in its outbox, which nobody takes while no subscriber runs."""

from typing import Any

from sqlalchemy import select

from shared.data.database import Database
from shared.events import EventTables
from shared.events.event import Envelope

RECORDED = "action.recorded"


def told(database_url: str, tables: EventTables) -> list[Envelope]:
    """Each event once, oldest first."""
    database = Database(database_url, pool_size=1)
    try:
        with database.transaction(write=False) as session:
            bodies = session.connection().execute(select(tables.outbox.c.body).order_by(tables.outbox.c.seq))
            envelopes = [Envelope.model_validate_json(body) for body in bodies.scalars()]
    finally:
        database.close()
    return [*{one.id: one for one in envelopes}.values()]


def events(database_url: str, tables: EventTables) -> list[Envelope]:
    """What happened to things."""
    return [one for one in told(database_url, tables) if one.topic != RECORDED]


def records(database_url: str, tables: EventTables) -> list[dict[str, Any]]:
    """Who did what."""
    return [one.data for one in told(database_url, tables) if one.topic == RECORDED]
