"""Whether the database shows the tables that the service created, not views or policies in their place.

These could hide a record from the queries of lists, and show it to a check, which reads by position.
"""

import re
from collections.abc import Iterator

from sqlalchemy import Connection, text
from sqlmodel import Session

from services.audit.models import RECORDS, Table
from services.audit.tables_on_postgresql import GUARDED, LISTED, odd_on_postgresql

_OWN_INDEXES = {index.name for index in RECORDS.indexes}
_EVERY = ", ".join(f"'{name}'" for name in Table.metadata.tables)
_ON_SQLITE = text(
    # A virtual table is a table, too, but has no page.
    "SELECT name, CASE WHEN type = 'table' AND rootpage = 0 THEN 'virtual table' ELSE type END, sql"  # noqa: S608 - own names
    f" FROM sqlite_master WHERE name IN ({_EVERY}) ORDER BY name"
)
_COLUMNS_ON_SQLITE = text("SELECT name, hidden FROM pragma_table_xinfo(:name) ORDER BY cid")
# A clause such as ON CONFLICT IGNORE drops a row without an error. Tables of the service have none of these.
_CLAUSES = re.compile(r"\b(CONFLICT|COLLATE|CHECK)\b", re.IGNORECASE)
_INDEXES_ON_SQLITE = text(
    # A primary key on the position is the rowid, and needs no index. With an index, a query by position could
    # find other rows than lists do.
    "SELECT name, tbl_name FROM sqlite_master WHERE type = 'index'"  # noqa: S608 - own names
    f" AND (tbl_name IN ('records', 'personal') OR sql IS NOT NULL AND tbl_name IN ({LISTED})) ORDER BY name"
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
    for name, kind, created in connection.execute(_ON_SQLITE).all():
        if kind != "table":
            yield f"{name} is a {kind}"
        elif _CLAUSES.search(created) or not _has_own_columns(connection, name):
            yield f"{name} is not as the service created it"
    for name, table in connection.execute(_INDEXES_ON_SQLITE):
        if name not in _OWN_INDEXES:
            yield f"{table} has an index {name} that the service did not create"
    for name, table, created in connection.execute(_TRIGGERS_ON_SQLITE):
        if not _only_refuses(name, table, created):
            yield f"{table} has a trigger {name} that the service did not create"


def _has_own_columns(connection: Connection, table: str) -> bool:
    found = connection.execute(_COLUMNS_ON_SQLITE, {"name": table}).all()
    return {(row[0], row[1]) for row in found} == {
        (column.name, 0) for column in Table.metadata.tables[table].c
    }


def _only_refuses(name: str, table: str, created: str) -> bool:
    """Whether a trigger is one of the guards: all that it can do is to refuse a change."""
    for event in ("update", "delete"):
        if table in GUARDED and name == f"{table}_refuse_{event}":
            begin = f"CREATE TRIGGER {name} BEFORE {event.upper()} ON {table} WHEN NOT ("
            end = ") BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
            is_one_step = created.upper().count("BEGIN") == 1 and not re.search(r"--|/\*", created)
            return created.startswith(begin) and created.endswith(end) and is_one_step
    return False
