from collections.abc import Iterator

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table

from shared.data.database import Database
from shared.work.jobs import JobTables

METADATA = MetaData()
WORK = JOBS = JobTables(METADATA)
# One row per effect.
EFFECTS = Table(
    "effects",
    METADATA,
    Column("place", Integer, primary_key=True, autoincrement=True),
    Column("subject", String(60), nullable=False),
    Column("number", Integer, nullable=False),
)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    METADATA.create_all(opened.engine)
    yield opened
    opened.close()
