"""The search index contains rows whose ids were made at the same moment, and its pages list each row once."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, MetaData, String, Table, delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from shared.data.database import Database
from shared.data.migrate import upgrade
from shared.http.schemas import Output
from shared.lists.pagination import PageQuery
from shared.lists.search import SPREAD, Part, Search, SearchIndex, find_page, place_of

COLUMNS = {"status": Part.START, "words": Part.ALL}
METADATA = MetaData()
THINGS = Table(
    "things",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("status", String(10), nullable=False),
    Column("words", String(50), nullable=False),
)
INDEX = SearchIndex(THINGS, COLUMNS)
MIGRATION = """
import sqlalchemy as sa
from alembic import op
from shared.lists.search import Part
from shared.lists import search_migrations

revision, down_revision = {revision!r}, {before!r}
COLUMNS = {{"status": Part.START, "words": Part.ALL}}

def upgrade():
    {work}
"""
CREATE = (
    "op.create_table('things', sa.Column('id', sa.String(36), primary_key=True), "
    "sa.Column('status', sa.String(10), nullable=False), sa.Column('words', sa.String(50), nullable=False)); "
    "search_migrations.create_search_index_1('things', COLUMNS)"
)
SPREAD_INDEX = "search_migrations.spread_search_index_2('things', COLUMNS)"


class Thing(Output):
    id: str


def same_moment(number: int) -> str:
    """Return an id whose place in the index does not depend on the number."""
    return f"019a0000-0000-7000-8000-{number:012x}"


def a_moment_later(number: int, apart: int) -> str:
    return f"019a0000-0000-7{apart:03x}-8000-{number:012x}"


def older(folder: Path) -> Database:
    """Create a database whose index accepts only one row per moment."""
    (folder / "0001_create.py").write_text(MIGRATION.format(revision="0001", before=None, work=CREATE))
    database = Database(f"sqlite:///{folder}/search.db")
    upgrade(database.url.render_as_string(), folder)
    return database


def spread(database: Database) -> None:
    """Migrate the database to the current form of the index."""
    folder = Path(database.url.database or "").parent
    written = MIGRATION.format(revision="0002", before="0001", work=SPREAD_INDEX)
    (folder / "0002_spread.py").write_text(written)
    database.engine.dispose()
    upgrade(database.url.render_as_string(), folder)


@pytest.fixture
def older_database(tmp_path: Path) -> Iterator[Database]:
    opened = older(tmp_path)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    opened = older(tmp_path_factory.mktemp("things"))
    spread(opened)
    yield opened
    opened.close()


@pytest.fixture
def session(migrated: Database) -> Iterator[Session]:
    """A session of the migrated database, which is empty again afterwards."""
    with migrated.transaction() as opened:
        yield opened
        opened.connection().execute(delete(THINGS))


def add(session: Session, *ids: str) -> None:
    for one in ids:
        row = {"id": one, "status": "open", "words": f"some words {one[-4:]}"}
        session.connection().execute(insert(THINGS), row)


def found(session: Session, text: str = "words", limit: int = 2, **limits: Any) -> list[str]:
    """Return the ids on all pages."""
    search = Search([{"status": "open"}, {"status": "done"}], {"words": text}, **limits)
    ids: list[str] = []
    cursor = None
    while True:
        page = find_page(session, INDEX, search, PageQuery(limit=limit, cursor=cursor), _made)
        ids += [item.id for item in page.items]
        if (cursor := page.next) is None:
            return ids


def _made(row: dict[str, Any]) -> Thing:
    return Thing(id=row["id"])


def places(session: Session) -> list[str]:
    """Return the ids in the order of the index."""
    rows = session.connection().execute(text("SELECT id FROM things_search ORDER BY rowid"))
    return [*rows.scalars()]


def test_older_index_refuses_a_second_row_of_the_same_moment(older_database: Database) -> None:
    assert place_of(same_moment(1)) == place_of(same_moment(2))
    with pytest.raises(IntegrityError), older_database.transaction() as session:
        add(session, same_moment(1), same_moment(2))


def test_rows_of_the_same_moment_are_listed_once_on_pages_of_any_size(older_database: Database) -> None:
    with older_database.transaction() as session:
        add(session, same_moment(5), a_moment_later(1, 2))
    spread(older_database)
    every = [same_moment(3), same_moment(5), same_moment(7), a_moment_later(1, 2), a_moment_later(2, 2)]
    with older_database.transaction() as session:
        add(session, every[0], every[2], every[4])

        assert places(session) == every
        for limit in range(1, 6):
            assert found(session, limit=limit) == every[::-1]
        assert found(session, since=every[1], until=every[3]) == [every[2], every[1]]
        assert found(session, "0003") == [every[0]]


@pytest.mark.parametrize("order", [*itertools.permutations((1, 2, 3))])
def test_rows_of_the_same_moment_are_all_found_in_whatever_order_they_are_added(
    session: Session, order: tuple[int, ...]
) -> None:
    add(session, *map(same_moment, order))

    assert sorted(places(session)) == [same_moment(number) for number in (1, 2, 3)]
    assert sorted(found(session, limit=10)) == [same_moment(number) for number in (1, 2, 3)]


def test_change_and_deletion_of_a_row_leave_its_neighbours_in_the_index(session: Session) -> None:
    ids = [same_moment(number) for number in range(10)]
    add(session, *ids)
    session.connection().execute(update(THINGS).where(THINGS.c.id == ids[4]).values(words="another text"))
    session.connection().execute(delete(THINGS).where(THINGS.c.id == ids[6]))

    assert found(session, limit=10) == [ids[number] for number in (9, 8, 7, 5, 3, 2, 1, 0)]
    assert found(session, "another") == [ids[4]]
    session.connection().execute(delete(THINGS))
    assert places(session) == []


def test_write_succeeds_even_if_no_place_is_left(session: Session) -> None:
    ids = [same_moment(number) for number in range(2 * SPREAD)]
    add(session, *ids)

    assert [*session.connection().execute(select(THINGS.c.id).order_by(THINGS.c.id)).scalars()] == ids
    assert len(places(session)) > SPREAD
    session.connection().execute(delete(THINGS))
    assert places(session) == []
