"""Handlers that read outside of transactions: the same responses, and no connection left behind."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy import bindparam, literal, select
from sqlmodel import Session

from shared.data.database import Database
from shared.data.reading import Reader
from shared.data.statements import Rows, insert_row
from shared.errors import Unavailable
from shared.http.operations import Operation
from shared.http.schemas import Page
from shared.identity.tokens import public
from shared.lists.pagination import PageQuery, paginate_equal
from shared.testing import running
from tests.shared.notes.app import Settings, create_app_with
from tests.shared.notes.handlers import NOTES, NoteOut

BY_TEXT = Rows(select(NOTES).where(NOTES.c.text == bindparam("text")))
ONE = Rows(select(literal(1).label("one")))
TEXTS = ['"quoted" \\ back', "tab\tline\n\x01 ü 漢 \U0001f600", "", "plain"]


def list_in_transaction(query: PageQuery, session: Session) -> Page[NoteOut]:
    """List notes in a transaction."""
    return paginate_equal(session, NOTES, {"owner": "o"}, query, NoteOut.unchecked)


def list_outside(query: PageQuery, session: Reader) -> Page[NoteOut]:
    """List notes outside of a transaction."""
    page = paginate_equal(session, NOTES, {"owner": "o"}, query, NoteOut.unchecked)
    assert not is_in_transaction(session)
    return page


def add_outside(session: Reader) -> None:
    """Try to write with a Reader."""


def is_in_transaction(reader: Reader) -> bool:
    driver: Any = reader.connection().connection.driver_connection
    if reader.connection().dialect.name == "sqlite":
        return bool(driver.in_transaction)
    return bool(driver.info.transaction_status != TransactionStatus.IDLE)


OPERATIONS = [
    Operation("GET", "/inside", list_in_transaction, access=public),
    Operation("GET", "/outside", list_outside, access=public),
]


@pytest.fixture
def settings(make_settings: Callable[..., Any], database_url: str) -> Settings:
    made: Settings = make_settings(Settings, database_url=database_url)
    return made


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    opened = Database(settings.database_url)
    yield opened
    await asyncio.to_thread(opened.close)


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app_with(OPERATIONS), settings) as made:
        yield made


def add(database: Database, *texts: str) -> None:
    with database.transaction() as session:
        for text in texts:
            insert_row(session, NOTES, owner="o", text=text)


async def test_page_is_the_same_to_the_byte(client: httpx.AsyncClient, database: Database) -> None:
    add(database, *TEXTS)
    for query in ("?limit=3", "", "?limit=200"):
        inside, outside = [await client.get(f"/{path}{query}") for path in ("inside", "outside")]
        assert (outside.status_code, outside.content) == (200, inside.content)
        assert outside.headers.get("link") == inside.headers.get("link")
    assert [note["text"] for note in outside.json()] == TEXTS[::-1]


def test_reader_sees_every_earlier_commit(database: Database) -> None:
    for text in TEXTS:
        add(database, text)
        with database.reading() as reader:
            assert BY_TEXT.one(reader, text=text) is not None


def test_no_connection_stays_in_use(database: Database) -> None:
    with database.reading() as reader, database.reading() as other:
        assert reader.connection() is not other.connection()
        assert database.connections_in_use == 2

    assert database.connections_in_use == 0


def test_connection_is_not_kept_after_a_failure(database: Database) -> None:
    add(database, "a")
    with suppress(LookupError), database.reading() as reader:
        BY_TEXT.one(reader, text="a")
        raise LookupError

    assert database.connections_in_use == 0
    with database.reading() as reader:
        assert BY_TEXT.one(reader, text="a") is not None


def test_writing_handler_cannot_take_a_reader(settings: Settings) -> None:
    with pytest.raises(TypeError, match="needs a Session, not a Reader"):
        create_app_with([Operation("POST", "/x", add_outside)])(settings)


def test_broken_connection_is_replaced(postgresql_database: str) -> None:
    database = Database(postgresql_database)
    with pytest.raises(Unavailable):
        read_after_the_end_of_the_session(database)

    with database.reading() as reader:
        assert ONE.rows(reader) == [{"one": 1}]
    assert database.connections_in_use == 0
    database.close()


def read_after_the_end_of_the_session(database: Database) -> None:
    with database.reading() as reader:
        ended = reader.connection().connection.driver_connection
        assert isinstance(ended, psycopg.Connection)
        with psycopg.connect(ended.info.dsn, password=ended.info.password) as other:
            other.execute("SELECT pg_terminate_backend(%s, 10000)", [ended.info.backend_pid])
        ONE.rows(reader)
