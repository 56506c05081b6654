"""Statements run by the driver itself: what goes in and comes out is what SQLAlchemy would make of it."""

from collections.abc import Iterator
from contextlib import suppress

import pytest
from sqlalchemy import bindparam, select
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from shared.data.database import Database
from shared.data.migrate import upgrade
from shared.data.statements import Rows, insert_row
from shared.ids import new_id
from tests.shared.notes.app import MIGRATIONS
from tests.shared.notes.handlers import NOTES

BY_ID = Rows(select(NOTES).where(NOTES.c.id == bindparam("id")))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    upgrade(database_url, MIGRATIONS)
    opened = Database(database_url)
    yield opened
    opened.close()


def as_sqlalchemy_reads_it(session: Session, note_id: str) -> dict[str, object]:
    return dict(session.connection().execute(select(NOTES).where(NOTES.c.id == note_id)).one()._mapping)


def test_an_inserted_row_is_returned_as_the_database_holds_it(database: Database) -> None:
    with database.transaction() as session:
        row = insert_row(session, NOTES, owner="o", text="% ? :id %(id)s")
        assert row == as_sqlalchemy_reads_it(session, row["id"])
        assert row["version"] == 1
        assert row["created"].tzinfo is not None


def test_a_given_value_takes_the_place_of_the_default(database: Database) -> None:
    own = new_id()
    with database.transaction() as session:
        assert insert_row(session, NOTES, id=own, owner="o", text="t", version=7)["version"] == 7
        assert as_sqlalchemy_reads_it(session, own)["version"] == 7


def test_an_inserted_row_is_gone_when_the_transaction_fails(database: Database) -> None:
    with suppress(LookupError), database.transaction() as session:
        insert_row(session, NOTES, owner="o", text="t")
        raise LookupError
    with database.transaction(write=False) as session:
        assert Rows(select(NOTES)).rows(session) == []


def test_a_broken_rule_of_the_database_is_an_integrity_error(database: Database) -> None:
    with database.transaction() as session:
        insert_row(session, NOTES, owner="o", text="twice")
    with pytest.raises(IntegrityError), database.transaction() as session:
        insert_row(session, NOTES, owner="o", text="twice")


def test_a_column_without_a_default_must_be_given(database: Database) -> None:
    with database.transaction() as session, pytest.raises(TypeError, match="owner is required"):
        insert_row(session, NOTES, text="t")


def test_a_name_that_is_no_column_is_refused(database: Database) -> None:
    with database.transaction() as session, pytest.raises(TypeError, match="no column colour"):
        insert_row(session, NOTES, owner="o", text="t", colour="red")


def test_rows_are_read_as_sqlalchemy_reads_them(database: Database) -> None:
    with database.transaction() as session:
        row = insert_row(session, NOTES, owner="o", text="t")
        assert BY_ID.one(session, id=row["id"]) == as_sqlalchemy_reads_it(session, row["id"])
        assert BY_ID.one(session, id=new_id()) is None


def test_values_are_converted_on_their_way_in_and_fixed_ones_stay(database: Database) -> None:
    newer = Rows(
        select(NOTES.c.text)
        .where(NOTES.c.created >= bindparam("since"), NOTES.c.owner == "o")
        .order_by(NOTES.c.text)
        .limit(bindparam("most"))
    )
    with database.transaction() as session:
        first = insert_row(session, NOTES, owner="o", text="a")
        second = insert_row(session, NOTES, owner="o", text="b")
        insert_row(session, NOTES, owner="somebody else", text="c")
        assert newer.rows(session, since=second["created"], most=5) == [{"text": "b"}]
        assert newer.rows(session, since=first["created"], most=1) == [{"text": "a"}]


def test_a_statement_whose_text_depends_on_its_values_is_refused(database: Database) -> None:
    some = Rows(select(NOTES).where(NOTES.c.id.in_(bindparam("ids", expanding=True))))
    with (
        database.transaction(write=False) as session,
        pytest.raises(TypeError, match="depends on its values"),
    ):
        some.rows(session, ids=[new_id()])
