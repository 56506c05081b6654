"""An inverted index over a table with time-ordered ids: parts of texts, and exact values beside them.

SQLite holds it as an FTS5 table that triggers keep up, PostgreSQL as a GIN index over an array of tokens;
both come with the database, and neither needs a privileged role. Texts are indexed by every three
characters in a row ("trigrams"), so that a search finds any part of a word.

SQLite walks its index in the order of the ids, newest first, and stops when the page is full. PostgreSQL has
to fetch all that is found before it can sort; so what is common enough to be found among the newest rows is
looked for there first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from pydantic import BaseModel
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    FromClause,
    MetaData,
    Select,
    String,
    Table,
    Text,
    UnaryExpression,
    and_,
    cast,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.operators import custom_op
from sqlmodel import Session

from shared.http.schemas import Page
from shared.lists import pagination
from shared.lists.pagination import (
    PageQuery,
    Walk,
    decode,
    page_of,
    paginate,
    read,
    rows_of,
    window_floor,
)

Out = TypeVar("Out", bound=BaseModel)

GRAM = 3
GRAMS_MAX = (
    6  # of one text: each is a list to go along; the rows that are found are compared with all of it anyway
)


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

    def found(self, search: Search) -> Walk:
        """The rows that the index of PostgreSQL finds and that are wanted."""
        wanted = self._tokens().op("@>")(self._wanted(search))
        return Walk(self._of_scopes(search).where(wanted), self.key, search.until, search.since)

    def candidates(self, search: Search, before: str | None) -> Select[Any]:
        """What the index of SQLite finds, newest first; few of it is not wanted, or of another scope."""
        scopes = " OR ".join(f"({self._match(scope)})" for scope in search.scopes)
        match = f"{self._match(search.texts)} AND ({scopes})"
        fts, ends = self._fts, [end for end in (before, search.until) if end is not None]
        found = select(fts.c.id, fts.c.rowid).where(literal_column(self._name).op("MATCH")(match))
        if ends:
            found = found.where(fts.c.rowid <= place_of(min(ends)))
        if search.since is not None:
            found = found.where(fts.c.rowid >= place_of(search.since))
        return found.order_by(fts.c.rowid.desc())

    def wanted_of(self, window: FromClause, search: Search, before: str | None) -> Select[Any]:
        """The rows of some candidates that are wanted."""
        rows = self._of_scopes(search, _unindexed).join(window, window.c.id == self.key)
        for end in (before, search.until):
            if end is not None:
                rows = rows.where(window.c.id < end)
        return rows.order_by(window.c.rowid.desc())

    def _of_scopes(
        self, search: Search, seen: Callable[[Column[Any]], ColumnElement[Any]] = lambda column: column
    ) -> Select[Any]:
        columns = {name: seen(self.table.c[name]) for scope in search.scopes for name in scope}
        scopes = [and_(*(columns[name] == value for name, value in one.items())) for one in search.scopes]
        return select(self.table).where(or_(*scopes), *search.always, *self.conditions(search))

    def _match(self, terms: Mapping[str, str]) -> str:
        return " AND ".join(
            f'{name} : "{gram.replace(chr(34), chr(34) * 2)}"'
            for name, value in terms.items()
            for gram in _grams(self._kept(name, value))
        )

    def conditions(self, search: Search) -> list[ColumnElement[bool]]:
        """What makes of a found row one that is wanted."""
        texts = [self.table.c[name].contains(text, autoescape=True) for name, text in search.texts.items()]
        return [*texts, *search.checked]

    def _kept(self, name: str, value: str) -> str:
        part = self.columns[name]
        return value if part is Part.ALL else value[:GRAM] if part is Part.START else value[-GRAM:]

    def _tokens(self) -> ColumnElement[Any]:
        return func.__getattr__(f"{self._name}_tokens")(*(self.table.c[name] for name in self.columns))

    def _wanted(self, search: Search) -> ColumnElement[Any]:
        """The tokens of the texts, and of what all scopes have in common."""
        numbers = {name: number for number, name in enumerate(self.columns)}
        first, *others = search.scopes
        shared = {
            name: value for name, value in first.items() if all(one.get(name) == value for one in others)
        }
        tokens = [
            f"{numbers[name]}{token}"
            for name, value in (*shared.items(), *search.texts.items())
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
    found = index.candidates(search, before)
    window = found.limit(pagination.WINDOW_ROWS).subquery()
    rows = rows_of(session, index.wanted_of(window, search, before).limit(wanted))
    if len(rows) == wanted:
        return rows, None
    last = found.limit(1).offset(pagination.WINDOW_ROWS - 1)
    return rows, session.connection().execute(last).scalar()


def _found_by_postgresql(
    session: Session, index: SearchIndex, search: Search, wanted: int, before: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Find common matches among the newest rows, and rare ones by the index."""
    walks = [index.walk(scope, search).between(before, None) for scope in search.scopes]
    floor = window_floor(session, walks)
    rows = read(session, [walk.between(None, floor) for walk in walks], wanted, index.conditions(search))
    if floor is not None and len(rows) < wanted:
        rows += read(session, [index.found(search).between(floor, None)], wanted - len(rows))
    return rows, None


def _unindexed(column: Column[Any]) -> ColumnElement[Any]:
    """Keeps SQLite from beginning with all rows of a scope instead of the few candidates."""
    return UnaryExpression(column, operator=custom_op("+"), type_=column.type)


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
