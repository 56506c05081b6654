"""An inverted index over a table with time-ordered ids: parts of texts, and exact values beside them.

SQLite holds it as an FTS5 table that triggers keep up, PostgreSQL as a GIN index over an array of tokens;
both come with the database, and neither needs a privileged role. Texts are indexed by every three
characters in a row ("trigrams"), so that a search finds any part of a word.

SQLite walks its index in the order of the ids, newest first, and stops when the page is full. PostgreSQL has
to fetch all that is found before it can sort; so what is common enough to be found among the newest rows is
looked for there first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeVar

from pydantic import BaseModel
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    MetaData,
    Select,
    String,
    Table,
    Text,
    cast,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Session

from shared import pagination
from shared.pagination import (
    PageQuery,
    Walk,
    decode,
    newest_of,
    page_of,
    paginate,
    read,
    rows_of,
    window_floor,
)
from shared.schemas import Page

Out = TypeVar("Out", bound=BaseModel)

GRAM = 3
GRAMS_MAX = 16  # of one text; the rows that are found are compared with all of it anyway


class Part(StrEnum):
    """How much of a column is indexed."""

    ALL = "all"  # a text of which any part can be searched
    START = "start"  # an exact value that its first three characters tell from the others
    END = "end"  # an exact value, such as an id, whose last three characters are in the index of SQLite


@dataclass(frozen=True, slots=True)
class Search:
    """What is wanted.

    Rows of any of the `scopes`, which exclude each other, and each of which has an index that ends in the
    id; with these `texts` in them; from one id on, below another. What is `checked` is so row by row, and
    what is `always` true is true of nearly all rows of a scope.
    """

    scopes: Sequence[Mapping[str, str]]
    texts: Mapping[str, str]
    checked: Sequence[ColumnElement[bool]] = ()
    always: Sequence[ColumnElement[bool]] = ()
    since: str | None = None
    until: str | None = None


class SearchIndex:
    """The index over one table, as its migration made it."""

    def __init__(self, table: Table, columns: Mapping[str, Part]) -> None:
        self.table = table
        self.columns = columns
        self.key: Column[str] = table.c.id
        self._name = f"{table.name}_search"
        self._fts = Table(self._name, MetaData(), Column("rowid", BigInteger), Column("id", String))

    def walk(self, scope: Mapping[str, str], search: Search) -> Walk:
        """The rows of a scope, by the index of that scope."""
        conditions = [self.table.c[name] == value for name, value in scope.items()]
        statement = select(self.table).where(*conditions, *search.always)
        return Walk(statement, self.key).between(search.until, search.since)

    def found(self, scope: Mapping[str, str], search: Search) -> Walk:
        """The rows of a scope that the index of PostgreSQL finds and that are wanted."""
        wanted = self._tokens().op("@>")(self._wanted(scope, search))
        walk = self.walk(scope, search)
        return replace(walk, statement=walk.statement.where(wanted, *self.conditions(search)))

    def candidates(self, scope: Mapping[str, str], search: Search, before: str | None) -> Select[Any]:
        """What the index of SQLite finds, newest first: few of it are not wanted, or of another scope."""
        match = " AND ".join(
            f'{name} : "{gram.replace(chr(34), chr(34) * 2)}"'
            for name, value in (*scope.items(), *search.texts.items())
            for gram in _grams(self._kept(name, value))
        )
        fts, ends = self._fts, [end for end in (before, search.until) if end is not None]
        found = select(fts.c.id, fts.c.rowid).where(literal_column(self._name).op("MATCH")(match))
        if ends:
            found = found.where(fts.c.rowid <= place_of(min(ends)))
        if search.since is not None:
            found = found.where(fts.c.rowid >= place_of(search.since))
        return found.order_by(fts.c.rowid.desc())

    def conditions(self, search: Search) -> list[ColumnElement[bool]]:
        """What makes of a found row one that is wanted."""
        texts = [self.table.c[name].contains(text, autoescape=True) for name, text in search.texts.items()]
        return [*texts, *search.checked]

    def _kept(self, name: str, value: str) -> str:
        part = self.columns[name]
        return value if part is Part.ALL else value[:GRAM] if part is Part.START else value[-GRAM:]

    def _tokens(self) -> ColumnElement[Any]:
        return func.__getattr__(f"{self._name}_tokens")(*(self.table.c[name] for name in self.columns))

    def _wanted(self, scope: Mapping[str, str], search: Search) -> ColumnElement[Any]:
        numbers = {name: number for number, name in enumerate(self.columns)}
        tokens = [
            f"{numbers[name]}{token}"
            for name, value in (*scope.items(), *search.texts.items())
            for token in (_grams(value) if self.columns[name] is Part.ALL else [value])
        ]
        return cast(tokens, ARRAY(Text))


def find_page(
    session: Session,
    index: SearchIndex,
    search: Search,
    query: PageQuery,
    make: Callable[[dict[str, Any]], Out],
) -> Page[Out]:
    """One page, newest first. A text that is too short for the index is looked for in a window of rows."""
    walks = [index.walk(scope, search) for scope in search.scopes]
    is_short = [len(text) < GRAM for text in search.texts.values()]
    if all(is_short) or not walks:
        return paginate(session, walks, index.key, query, make, checked=index.conditions(search))
    before = None if query.cursor is None else decode(query.cursor)
    if session.get_bind().dialect.name == "sqlite":
        rows, floor = _found_by_sqlite(session, index, search, query.limit + 1, before)
    else:
        rows, floor = _found_by_postgresql(session, index, search, query.limit + 1, before)
    return page_of(rows, index.key, query, make, floor)


def _found_by_sqlite(
    session: Session, index: SearchIndex, search: Search, wanted: int, before: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """The rows of a window of what the index finds, and the id down to which that reaches."""
    parts, ends = [], []
    for scope in search.scopes:
        found = index.candidates(scope, search, before)
        window = found.limit(pagination.WINDOW_ROWS).subquery()
        walk = index.walk(scope, search).between(before, None)
        rows = walk.bounded.join(window, window.c.id == index.key).where(*index.conditions(search))
        parts.append(rows.order_by(window.c.rowid.desc()).limit(wanted))
        last = found.limit(1).offset(pagination.WINDOW_ROWS - 1)
        ends.append(session.connection().execute(last).scalar())
    floor = max((end for end in ends if end is not None), default=None)
    there = rows_of(session, newest_of(parts, index.key, wanted))
    return [row for row in there if floor is None or row[index.key.key] >= floor], floor


def _found_by_postgresql(
    session: Session, index: SearchIndex, search: Search, wanted: int, before: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """What is common is found among the newest rows; what is rare, by the index, which has few of it."""
    walks = [index.walk(scope, search).between(before, None) for scope in search.scopes]
    floor = window_floor(session, walks)
    rows = read(session, [walk.between(None, floor) for walk in walks], wanted, index.conditions(search))
    if floor is not None and len(rows) < wanted:
        found = [index.found(scope, search).between(floor, None) for scope in search.scopes]
        rows += read(session, found, wanted - len(rows))
    return rows, None


def _grams(text: str) -> list[str]:
    """Three characters in a row, from all over the text; none when it is shorter than that."""
    every = list(dict.fromkeys(text[start : start + GRAM] for start in range(len(text) - GRAM + 1)))
    step = -(-len(every) // GRAMS_MAX) or 1
    return every[::step]


def place_of(key: str) -> int:
    """Where SQLite's index has a row: 62 bits of its id that keep the order, the version left out.

    They are all that tells the ids of one process apart, and the time of those of several.
    """
    return (int(key[:8] + key[9:13] + key[15:18], 16) << 2) | (int(key[19], 16) & 3)
