"""Whether the database shows the tables that the service created, not views or policies in their place.

These could hide a record from the queries of lists, and show it to a check, which reads by position.
"""

import re
from collections.abc import Iterator

from sqlalchemy import Connection, text
from sqlalchemy import Table as SqlTable
from sqlalchemy.dialects import sqlite
from sqlmodel import Session

from services.audit.models import PERSONAL, RECORDS, Table
from services.audit.tables_on_postgresql import GUARDED, odd_on_postgresql

_SQLITE = sqlite.dialect()
_EVERY = ", ".join(f"'{name}'" for name in Table.metadata.tables)
_ON_SQLITE = text(
    # A virtual table is a table, too, but has no page.
    "SELECT name, CASE WHEN type = 'table' AND rootpage = 0 THEN 'virtual table' ELSE type END, sql"  # noqa: S608 - own names
    f" FROM sqlite_master WHERE name IN ({_EVERY}) ORDER BY name"
)
_COLUMNS_ON_SQLITE = text("SELECT name, type, hidden FROM pragma_table_xinfo(:name) ORDER BY cid")
# A clause such as ON CONFLICT IGNORE drops a row without an error. Tables of the service have none of these.
_CLAUSES = re.compile(r"\b(CONFLICT|COLLATE|CHECK|REFERENCES)\b", re.IGNORECASE)
_INDEXES_ON_SQLITE = text(
    "SELECT name, \"unique\", CASE WHEN origin <> 'c' THEN (SELECT group_concat(name) FROM"
    " (SELECT name FROM pragma_index_info(found.name) ORDER BY seqno)) END"
    " FROM pragma_index_list(:name) AS found ORDER BY 1"
)
_TRIGGERS_ON_SQLITE = text(
    "SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name"
)


def odd_tables(session: Session) -> Iterator[str]:
    """Return what is not as the service created it, in words."""
    connection = session.connection()
    return (
        _odd_on_sqlite(connection) if connection.dialect.name == "sqlite" else odd_on_postgresql(connection)
    )


def _odd_on_sqlite(connection: Connection) -> Iterator[str]:
    there = {name: (kind, created) for name, kind, created in connection.execute(_ON_SQLITE)}
    for name, table in sorted(Table.metadata.tables.items()):
        # SQLite finds a table in any spelling of its name, and this check only in the service's own.
        kind, created = there.get(name, ("missing under its own name", ""))
        if kind != "table":
            yield f"{name} is {'a ' * (name in there)}{kind}"
        elif _CLAUSES.search(created) or not _has_own_columns(connection, table):
            yield f"{name} is not as the service created it"
        yield from _odd_indexes(connection, table)
    for name, of_table, created in connection.execute(_TRIGGERS_ON_SQLITE):
        if not _only_refuses(name, of_table, created):
            yield f"{of_table} has a trigger {name} that the service did not create"


def _has_own_columns(connection: Connection, table: SqlTable) -> bool:
    """Whether they have their types, too: a number is not found among texts, nor a text among numbers."""
    found = connection.execute(_COLUMNS_ON_SQLITE, {"name": table.name})
    own = {(column.name, column.type.compile(dialect=_SQLITE), 0) for column in table.c}
    return {tuple(row) for row in found} == own


def _odd_indexes(connection: Connection, table: SqlTable) -> Iterator[str]:
    """Return indexes of others, and unique ones: these make `ON CONFLICT DO NOTHING` drop other rows."""
    own = {index.name for index in table.indexes}
    for name, is_unique, key in connection.execute(_INDEXES_ON_SQLITE, {"name": table.name}):
        if is_unique and key not in _keys(table):
            how = "is not as the service created it" if name in own else "the service did not create"
            yield f"{table.name} has an index {name} that {how}"
        elif not is_unique and name not in own:
            yield f"{table.name} has an index {name} that the service did not create"


def _keys(table: SqlTable) -> set[str]:
    """Return the columns of each key of the table for which SQLite makes an index."""
    if table in (RECORDS, PERSONAL):
        # Their key is the rowid. With an index, a query by position could find other rows than lists do.
        return set()
    unique = {column.name for column in table.c if column.unique}
    return {",".join(column.name for column in table.primary_key), *unique}


def _only_refuses(name: str, table: str, created: str) -> bool:
    """Whether a trigger is one of the guards: all that it can do is to refuse a change."""
    for event in ("update", "delete"):
        if table in GUARDED and name == f"{table}_refuse_{event}":
            begin = f"CREATE TRIGGER {name} BEFORE {event.upper()} ON {table} WHEN NOT ("
            end = ") BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
            # Its condition could say RAISE(IGNORE), which skips the change without an error.
            is_one_step = all(created.upper().count(word) == 1 for word in ("BEGIN", "RAISE"))
            is_plain = not re.search(r"--|/\*", created)
            return created.startswith(begin) and created.endswith(end) and is_one_step and is_plain
    return False
