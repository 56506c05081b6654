"""An inverted index over a table with time-ordered ids. It finds substrings of texts and exact values.

On SQLite it is an FTS5 table kept up to date by triggers, on PostgreSQL a GIN index over an array of tokens.
Both come with the database and need no privileged role. Texts are indexed by trigrams (every three
consecutive characters), so a search finds any part of a word.

SQLite scans its index in id order, newest first, and stops when the page is full. PostgreSQL must fetch all
matches before it can sort, so the newest rows are searched first: if matches are common, these rows contain
enough of them.
"""

import unicodedata
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
SPREAD = 64  # how far from its rowid (see `place_of`) SQLite's index may store a row if others have taken it
GRAMS_MAX = 6  # per text: each adds an index scan, and the rows found are compared with the whole text anyway


def searchable(text: str) -> str:
    """Normalise text for comparison: SQLite ignores case for ASCII only, Python for all scripts."""
    return unicodedata.normalize("NFKC", text).casefold()


class Part(StrEnum):
    """How much of a column is indexed."""

    ALL = "all"  # a text in which any substring can be searched
    START = "start"  # an exact value; SQLite indexes its first three characters
    END = "end"  # an exact value, such as an id; SQLite indexes its last three characters


@dataclass(frozen=True, slots=True)
class Search:
    """The search criteria.

    Matching rows are in one of the `scopes`, contain the `texts`, and have `since` <= id < `until`. Scopes
    are mutually exclusive, and each has an index that ends in the id. `checked` conditions are evaluated row
    by row; `always` conditions hold for nearly all rows of a scope.
    """

    scopes: Sequence[Mapping[str, str]]
    texts: Mapping[str, str]
    checked: Sequence[ColumnElement[bool]] = ()
    always: Sequence[ColumnElement[bool]] = ()
    since: str | None = None
    until: str | None = None


class SearchIndex:
    """The index over one table, as created by its migration."""

    def __init__(self, table: Table, columns: Mapping[str, Part]) -> None:
        self.table = table
        self.columns = columns
        self.key: Column[str] = table.c.id
        self._name = f"{table.name}_search"
        self._fts = Table(self._name, MetaData(), Column("rowid", BigInteger), Column("id", String))

    def walk(self, scope: Mapping[str, str], search: Search) -> Walk:
        """Return a walk over the rows of a scope, in the order of its index."""
        conditions = [self.table.c[name] == value for name, value in scope.items()]
        statement = select(self.table).where(*conditions, *search.always)
        return Walk(statement, self.key).between(search.until, search.since)

    def found(self, search: Search) -> Walk:
        """Return the matching rows, through PostgreSQL's index."""
        wanted = self._tokens().op("@>")(self._wanted(search))
        return Walk(self._of_scopes(search).where(wanted), self.key, search.until, search.since)

    def candidates(self, search: Search, before: str | None) -> Select[Any]:
        """Select the hits of SQLite's index, newest first; a few do not match, or are in other scopes."""
        scopes = " OR ".join(f"({self._match(scope)})" for scope in search.scopes)
        match = f"{self._match(search.texts)} AND ({scopes})"
        fts, ends = self._fts, [end for end in (before, search.until) if end is not None]
        found = select(fts.c.id, fts.c.rowid).where(literal_column(self._name).op("MATCH")(match))
        if ends:
            found = found.where(fts.c.rowid <= place_of(min(ends)) + SPREAD + 1)
        if search.since is not None:
            found = found.where(fts.c.rowid >= place_of(search.since) - SPREAD - 1)
        return found.order_by(fts.c.rowid.desc())

    def wanted_of(self, window: FromClause, search: Search, before: str | None) -> Select[Any]:
        """Select the matching rows among some candidates."""
        rows = self._of_scopes(search, _unindexed).join(window, window.c.id == self.key)
        for end in (before, search.until):
            if end is not None:
                rows = rows.where(window.c.id < end)
        if search.since is not None:
            rows = rows.where(window.c.id >= search.since)
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
        """Return the conditions that an index hit must meet to match."""
        texts = [self.table.c[name].contains(text, autoescape=True) for name, text in search.texts.items()]
        return [*texts, *search.checked]

    def _kept(self, name: str, value: str) -> str:
        part = self.columns[name]
        return value if part is Part.ALL else value[:GRAM] if part is Part.START else value[-GRAM:]

    def _tokens(self) -> ColumnElement[Any]:
        return func.__getattr__(f"{self._name}_tokens")(*(self.table.c[name] for name in self.columns))

    def _wanted(self, search: Search) -> ColumnElement[Any]:
        """Return the tokens of the texts, and of the values that all scopes share."""
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
    """Return one page, newest first. Texts too short for the index are searched in a window of rows."""
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
    """Return the matches in a window of index hits, and the last id of the window."""
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
    """Find common matches among the newest rows, and rare ones through the index."""
    walks = [index.walk(scope, search).between(before, None) for scope in search.scopes]
    floor = window_floor(session, walks)
    rows = read(session, [walk.between(None, floor) for walk in walks], wanted, index.conditions(search))
    if floor is not None and len(rows) < wanted:
        rows += read(session, [index.found(search).between(floor, None)], wanted - len(rows))
    return rows, None


def _unindexed(column: Column[Any]) -> ColumnElement[Any]:
    """Hide the column from SQLite's planner, which would scan a whole scope instead of the candidates."""
    return UnaryExpression(column, operator=custom_op("+"), type_=column.type)


def _grams(text: str) -> list[str]:
    """Return trigrams spread over the text; none if it is too short."""
    every = list(dict.fromkeys(text[start : start + GRAM] for start in range(len(text) - GRAM + 1)))
    step = -(-len(every) // GRAMS_MAX) or 1
    return every[::step]


def place_of(key: str) -> int:
    """Return the rowid in SQLite's index: 62 bits of the UUIDv7, without its version, in the same order.

    Ids made by one process have different rowids. Ids that two processes make within 0.24 µs may have the
    same one: the second row then gets a rowid next to it, still in the order of ids.
    """
    return (int(key[:8] + key[9:13] + key[15:18], 16) << 2) | (int(key[19], 16) & 3)
