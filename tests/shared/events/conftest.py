from collections.abc import Iterator

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table

from shared.data.database import Database
from shared.events.outbox import OUTBOX, Outbox
from shared.events.tables import EventTables

METADATA = MetaData()
TABLES = EventTables(METADATA)
# One row for every event that a consumer has applied, in order.
APPLIED = Table(
    "applied",
    METADATA,
    Column("place", Integer, primary_key=True, autoincrement=True),
    Column("thing", String(50), nullable=False),
    Column("number", Integer, nullable=False),
)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    METADATA.create_all(opened.engine)
    yield opened
    opened.close()


@pytest.fixture
def outbox(database: Database) -> Outbox:
    made = Outbox(TABLES, "counting", {"thing.counted": ["one"], "thing.shared": ["one", "two"]})
    database.session_info[OUTBOX] = made
    return made
