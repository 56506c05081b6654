"""Many rows or values in one statement: the same results on both databases, and no statement per row."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Boolean, Column, Integer, LargeBinary, MetaData, String, Table, event, select
from sqlmodel import Session

from shared.data import bulk
from shared.data.bulk import insert_rows, one_of
from shared.data.database import Database, UtcDateTime, execute_in_driver

METADATA = MetaData()
THINGS = Table(
    "things",
    METADATA,
    Column("id", String(50), primary_key=True),
    Column("number", Integer, nullable=False),
    Column("made", UtcDateTime, nullable=False),
    Column("is_new", Boolean, nullable=False),
    Column("note", String),
    Column("content", LargeBinary),
)
AT = datetime(2026, 1, 31, 12, 0, 0, 250_001, tzinfo=UTC)
ODD = ["", "a'b", 'a"b', "a\\b", "{}", "%s", "?", ":x", "\n\t", "größer", "\U0001f600", "null", '{"a": [1]}']


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    METADATA.create_all(opened.engine)
    yield opened
    opened.close()


def thing(name: str, number: int = 1, note: str | None = None) -> dict[str, Any]:
    return {"id": name, "number": number, "made": AT, "is_new": number % 2 == 1, "note": note}


def all_of(session: Session) -> list[dict[str, Any]]:
    columns = [THINGS.c[name] for name in thing("")]
    rows = session.connection().execute(select(*columns).order_by(THINGS.c.id)).mappings()
    return [{**row} for row in rows]


def test_inserted_rows_are_read_back_unchanged(database: Database) -> None:
    rows = [thing(f"{number:02}", number, text) for number, text in enumerate([*ODD, None])]
    with database.transaction() as session:
        insert_rows(session, THINGS, rows)
        insert_rows(session, THINGS, [])

    with database.transaction(write=False) as session:
        assert all_of(session) == rows


def test_batch_is_one_statement(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """On SQLite it is one prepared statement, executed per row."""
    seen: list[str] = []

    def in_driver(connection: Any, statement: str, parameters: Any) -> Any:
        seen.append(statement)
        return execute_in_driver(connection, statement, parameters)

    def in_sqlalchemy(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    monkeypatch.setattr(bulk, "execute_in_driver", in_driver)
    event.listen(database.engine, "before_cursor_execute", in_sqlalchemy)
    event.listen(database._writing, "before_cursor_execute", in_sqlalchemy)
    with database.transaction() as session:
        insert_rows(session, THINGS, [thing(str(number)) for number in range(100)])

    inserts = {*seen}
    assert len(seen) == len(inserts) == 1
    assert database.is_sqlite or "json_populate_recordset" in seen[0]


def test_constraints_of_the_table_are_enforced(database: Database) -> None:
    with pytest.raises(Exception, match=r"(?i)unique"), database.transaction() as session:
        insert_rows(session, THINGS, [thing("a"), thing("b"), thing("a")])

    with database.transaction(write=False) as session:
        assert all_of(session) == []


def test_bytes_are_refused_on_postgresql_where_json_would_garble_them(database: Database) -> None:
    row = {**thing("a"), "content": b"\xff"}
    with database.transaction() as session:
        if database.is_sqlite:
            insert_rows(session, THINGS, [row])
            assert session.connection().execute(select(THINGS.c.content)).scalar_one() == b"\xff"
        else:
            with pytest.raises(TypeError, match="binary columns"):
                insert_rows(session, THINGS, [row])


@pytest.mark.parametrize("column", ["id", "number"])
def test_one_of_finds_the_rows_with_any_of_the_values(database: Database, column: str) -> None:
    with database.transaction() as session:
        insert_rows(session, THINGS, [thing(text, number) for number, text in enumerate(ODD)])
        values: list[Any] = ODD[:4] if column == "id" else [0, 1, 2, 3]
        found = select(THINGS.c.id).where(one_of(session, THINGS.c[column], values))

        assert {*session.connection().execute(found).scalars()} == {*ODD[:4]}
        none = select(THINGS.c.id).where(one_of(session, THINGS.c[column], []))
        assert session.connection().execute(none).first() is None
