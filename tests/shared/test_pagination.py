"""Pages cover every row exactly once, even if rows are added meanwhile."""

import base64
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter
from sqlalchemy import Column, Index, MetaData, String, Table, delete, insert, select
from sqlmodel import Session

from shared.data.database import Database
from shared.data.migrate import upgrade
from shared.errors import Invalid
from shared.http.schemas import Output, Page
from shared.ids import new_id
from shared.lists.pagination import PAGE_ROWS_MAX, PageQuery, paginate, paginate_equal
from tests.shared.notes.app import MIGRATIONS
from tests.shared.notes.handlers import NOTES, NoteOut
from tests.shared.notes.models import Note


class Thing(BaseModel):
    id: str


class Shown(Output):
    id: str
    length: int


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path_factory.mktemp('pages')}/notes.db"
    upgrade(url, MIGRATIONS)
    opened = Database(url)
    yield opened
    opened.close()


def add(session: Session, number: int) -> list[str]:
    ids = [new_id() for _ in range(number)]
    session.add_all([Note(id=one, owner="o", text=one) for one in ids])
    session.flush()
    return ids


def page(session: Session, **query: object) -> Page[NoteOut]:
    return paginate(session, select(NOTES), NOTES.c.id, PageQuery.model_validate(query), NoteOut.unchecked)


@settings(max_examples=60)
@given(rows=st.integers(0, 30), limits=st.lists(st.integers(1, 12)), added=st.lists(st.integers(0, 3)))
def test_every_row_is_listed_exactly_once_while_rows_are_added(
    database: Database, rows: int, limits: list[int], added: list[int]
) -> None:
    sizes, additions = iter(limits), iter(added)
    with database.transaction() as session:
        session.connection().execute(delete(NOTES))
        there = add(session, rows)
        seen: list[str] = []
        cursor = None
        while True:
            limit = next(sizes, 5)
            shown = page(session, limit=limit, **({"cursor": cursor} if cursor else {}))
            seen += [row.id for row in shown.items]
            assert len(shown.items) == limit or shown.next is None
            if shown.next is None:
                break
            cursor = shown.next
            add(session, next(additions, 0))

    assert seen == there[::-1]


def test_last_page_has_no_next_cursor(database: Database) -> None:
    with database.transaction() as session:
        session.connection().execute(delete(NOTES))
        add(session, 4)
        first = page(session, limit=2)
        second = page(session, limit=2, cursor=first.next)

        assert first.next is not None
        assert second.next is None
        assert page(session, limit=4).next is None


def test_deleted_row_does_not_disturb_the_next_page(database: Database) -> None:
    with database.transaction() as session:
        session.connection().execute(delete(NOTES))
        ids = add(session, 4)
        first = page(session, limit=2)
        session.connection().execute(delete(NOTES).where(NOTES.c.id == ids[2]))

        assert [row.id for row in page(session, cursor=first.next).items] == [ids[1], ids[0]]


@given(
    st.text(max_size=200) | st.binary(max_size=150).map(lambda raw: base64.urlsafe_b64encode(raw).decode())
)
def test_invalid_cursor_is_refused(database: Database, cursor: str) -> None:
    with database.transaction(write=False) as session, pytest.raises(Invalid) as raised:
        page(session, cursor=cursor)

    assert [fault["field"] for fault in raised.value.errors] == ["cursor"]


@pytest.mark.parametrize("limit", [0, -1, PAGE_ROWS_MAX + 1, "many"])
def test_invalid_page_limit_is_refused(limit: object) -> None:
    with pytest.raises(ValueError, match="limit"):
        PageQuery.model_validate({"limit": limit})


def test_paginate_equal_lists_the_rows_with_these_values_page_by_page(database: Database) -> None:
    with database.transaction() as session:
        session.connection().execute(delete(NOTES))
        there = add(session, 5)
        session.add(Note(owner="somebody else", text="not in it"))
        session.flush()
        seen: list[str] = []
        cursor: str | None = None
        for size in (2, 2, 1):
            query = PageQuery(limit=2, cursor=cursor)
            shown = paginate_equal(session, NOTES, {"owner": "o"}, query, NoteOut.unchecked)
            assert len(shown.items) == size
            seen += [row.id for row in shown.items]
            cursor = shown.next
        assert (seen, cursor) == (there[::-1], None)
        everything = paginate_equal(session, NOTES, {}, PageQuery(), NoteOut.unchecked)
        assert len(everything.items) == 6


def test_row_taken_over_is_sent_with_the_fields_of_the_response_and_no_other_column() -> None:
    row = {"id": new_id(), "secret": "not for readers"}
    taken = Shown.taking(row, length=3)
    assert TypeAdapter(list[Shown]).dump_json([taken]) == f'[{{"id":"{row["id"]}","length":3}}]'.encode()


def test_checked_page_is_in_order_though_postgresql_reads_the_condition_first(
    postgresql_database: str,
) -> None:
    tables = MetaData()
    things = Table("things", tables, Column("id", String, primary_key=True), Column("owner", String))
    Index("things_by_owner", things.c.owner, things.c.id)
    tags = Table("tags", tables, Column("id", String, primary_key=True), Column("tag", String, index=True))
    ids = [new_id() for _ in range(40)]
    opened = Database(postgresql_database)
    try:
        with opened.transaction() as session:
            tables.create_all(session.connection())
            session.connection().execute(insert(things), [{"id": one, "owner": "o"} for one in ids])
            session.connection().execute(insert(tags), [{"id": one, "tag": "red"} for one in ids[::4]])
            tagged = select(tags.c.id).where(tags.c.id == things.c.id, tags.c.tag == "red").exists()
            walk = select(things).where(things.c.owner == "o")
            shown = paginate(session, walk, things.c.id, PageQuery(), Thing.model_validate, checked=[tagged])
    finally:
        opened.close()

    assert [row.id for row in shown.items] == ids[::4][::-1]
