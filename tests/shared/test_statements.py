"""Statements run directly by the driver: parameters and results are the same as with SQLAlchemy."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta

import pytest
from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from shared.data.database import Database
from shared.data.migrate import upgrade
from shared.data.statements import Rows, Statement, deletion_of, insert_row, upsert_of
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


def test_inserted_row_is_returned_as_stored(database: Database) -> None:
    with database.transaction() as session:
        row = insert_row(session, NOTES, owner="o", text="% ? :id %(id)s")
        assert row == as_sqlalchemy_reads_it(session, row["id"])
        assert row["version"] == 1
        assert row["created"].tzinfo is not None


def test_given_value_replaces_the_default(database: Database) -> None:
    own = new_id()
    with database.transaction() as session:
        assert insert_row(session, NOTES, id=own, owner="o", text="t", version=7)["version"] == 7
        assert as_sqlalchemy_reads_it(session, own)["version"] == 7


def test_inserted_row_is_rolled_back_with_the_transaction(database: Database) -> None:
    with suppress(LookupError), database.transaction() as session:
        insert_row(session, NOTES, owner="o", text="t")
        raise LookupError
    with database.transaction(write=False) as session:
        assert Rows(select(NOTES)).rows(session) == []


def test_violated_constraint_is_an_integrity_error(database: Database) -> None:
    with database.transaction() as session:
        insert_row(session, NOTES, owner="o", text="twice")
    with pytest.raises(IntegrityError), database.transaction() as session:
        insert_row(session, NOTES, owner="o", text="twice")


def test_column_without_a_default_is_required(database: Database) -> None:
    with database.transaction() as session, pytest.raises(TypeError, match="owner is required"):
        insert_row(session, NOTES, text="t")


def test_unknown_column_is_refused(database: Database) -> None:
    with database.transaction() as session, pytest.raises(TypeError, match="no column colour"):
        insert_row(session, NOTES, owner="o", text="t", colour="red")


def test_rows_are_read_as_sqlalchemy_reads_them(database: Database) -> None:
    with database.transaction() as session:
        row = insert_row(session, NOTES, owner="o", text="t")
        assert BY_ID.one(session, id=row["id"]) == as_sqlalchemy_reads_it(session, row["id"])
        assert BY_ID.one(session, id=new_id()) is None


def test_parameters_are_converted_and_literals_are_kept(database: Database) -> None:
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


def test_statement_whose_text_depends_on_its_values_is_refused(database: Database) -> None:
    some = Rows(select(NOTES).where(NOTES.c.id.in_(bindparam("ids", expanding=True))))
    with (
        database.transaction(write=False) as session,
        pytest.raises(TypeError, match="depends on the values"),
    ):
        some.rows(session, ids=[new_id()])


def test_upsert_overwrites_only_the_named_columns_of_an_existing_row(database: Database) -> None:
    upsert = Rows(upsert_of(NOTES, "text").returning(NOTES.c.owner, NOTES.c.text, NOTES.c.created))
    with database.transaction() as session:
        row = insert_row(session, NOTES, owner="o", text="before")
        changed = upsert.one(session, **{**row, "owner": "somebody else", "text": "after"})
        added = upsert.one(session, **{**row, "id": new_id(), "text": "new"})

    assert changed == {"owner": "o", "text": "after", "created": row["created"]}
    assert added == {"owner": "o", "text": "new", "created": row["created"]}


def test_update_and_delete_report_the_rows_that_they_affected(database: Database) -> None:
    named = NOTES.c.owner == bindparam("whose")
    change = Rows(update(NOTES).where(named).values(text=bindparam("new")).returning(NOTES.c.text))
    remove = Statement(delete(NOTES).where(named))
    with database.transaction() as session:
        insert_row(session, NOTES, owner="o", text="t")
        assert change.rows(session, whose="o", new="changed") == [{"text": "changed"}]
        assert change.rows(session, whose="somebody else", new="changed") == []
        assert remove.execute(session, {"whose": "o"})[1].rowcount == 1


def test_deletion_removes_old_rows_up_to_its_maximum_and_no_newer_ones(database: Database) -> None:
    two_old = Statement(deletion_of(NOTES.c.id, NOTES.c.created, 2))
    with database.transaction() as session:
        now = insert_row(session, NOTES, owner="o", text="new")["created"]
        for number in range(3):
            insert_row(session, NOTES, owner="o", text=f"old {number}", created=now - timedelta(days=2))
        left = []
        for _ in range(3):
            two_old.execute(session, {"before": now - timedelta(days=1)})
            left.append(len(Rows(select(NOTES.c.id)).rows(session)))

    assert left == [2, 1, 1]
