"""Whether the database shows the tables that the service created, not views or policies in their place.

These could hide a record from the queries of lists, and show it to a check, which reads by position.
"""

from collections.abc import Iterator

from sqlalchemy import Connection, text
from sqlmodel import Session

from services.audit.models import CHECKPOINTS, HOLDS, HORIZON, PERSONAL, RECORDS, TILES

_NAMES = [table.name for table in (RECORDS, PERSONAL, TILES, CHECKPOINTS, HORIZON, HOLDS)]
_LISTED = ", ".join(f"'{name}'" for name in _NAMES)
_OWN_INDEXES = {index.name for table in (RECORDS, HOLDS) for index in table.indexes}
_KEYS = {f"{name}_pkey" for name in _NAMES}  # as PostgreSQL names their indexes
_ON_SQLITE = text(
    # A virtual table is a table, too, but has no page.
    "SELECT name, CASE WHEN type = 'table' AND rootpage = 0 THEN 'virtual table' ELSE type END"  # noqa: S608 - own names
    f" FROM sqlite_master WHERE name IN ({_LISTED})"
)
_INDEXES_ON_SQLITE = text(
    # A key by position needs no index; with one, a query by position could find other rows than lists do.
    "SELECT name, tbl_name FROM sqlite_master WHERE type = 'index'"  # noqa: S608 - own names
    f" AND (tbl_name IN ('records', 'personal') OR sql IS NOT NULL AND tbl_name IN ({_LISTED})) ORDER BY name"
)
# With functions and operators that a schema in the search path cannot replace.
_FOUND = ", ".join(f"pg_catalog.to_regclass('{name}')" for name in _NAMES)
_ON_POSTGRESQL = text(
    "SELECT relname, relkind::pg_catalog.text, relhasrules, relrowsecurity, relhassubclass"  # noqa: S608 - own names
    f" FROM pg_catalog.pg_class WHERE oid OPERATOR(pg_catalog.=) ANY (ARRAY[{_FOUND}]::pg_catalog.oid[])"
)
_FAMILY = (
    f"WITH own AS (SELECT unnest(ARRAY[{_FOUND}]::oid[]) AS oid), family AS (SELECT oid FROM own"  # noqa: S608 - own names
    " UNION SELECT inhrelid FROM pg_inherits JOIN own ON inhparent = own.oid) "
)
_PARTITIONS = text(
    f"{_FAMILY}SELECT relname FROM family JOIN pg_class USING (oid)"  # noqa: S608 - own names
    " WHERE oid NOT IN (SELECT oid FROM own WHERE oid IS NOT NULL) AND relkind <> 'r' ORDER BY relname"
)
# The planner skips a partition whose constraint contradicts a query.
_CONSTRAINTS = text(
    f"{_FAMILY}SELECT relname, conname FROM pg_constraint JOIN family ON conrelid = family.oid"  # noqa: S608 - own names
    " JOIN pg_class ON pg_class.oid = conrelid WHERE contype = 'c' ORDER BY conname"
)
_INDEXES_ON_POSTGRESQL = text(
    f"{_FAMILY}SELECT of_table.relname, made.relname, EXISTS"  # noqa: S608 - own names
    " (SELECT 1 FROM pg_inherits WHERE inhrelid = indexrelid),"
    " indisvalid AND indisready AND indislive AND indexprs IS NULL AND NOT EXISTS"
    " (SELECT 1 FROM pg_opclass WHERE pg_opclass.oid = ANY (indclass::oid[]) AND NOT opcdefault)"
    " FROM pg_index JOIN family ON indrelid = family.oid JOIN pg_class AS of_table ON of_table.oid = indrelid"
    " JOIN pg_class AS made ON made.oid = indexrelid ORDER BY 2"
)
_SCHEMAS = text("SELECT pg_catalog.current_schemas(true)")
_TABLE, _PARTITIONED = "r", "p"  # as PostgreSQL calls them


def odd_tables(session: Session) -> Iterator[str]:
    """Return what is not as the service created it, in words."""
    connection = session.connection()
    return _odd_on_sqlite(connection) if connection.dialect.name == "sqlite" else _odd_elsewhere(connection)


def _odd_on_sqlite(connection: Connection) -> Iterator[str]:
    for name, kind in connection.execute(_ON_SQLITE):
        if kind != "table":
            yield f"{name} is a {kind}"
    for name, table in connection.execute(_INDEXES_ON_SQLITE):
        if name not in _OWN_INDEXES:
            yield f"{table} has an index {name} that the service did not create"


def _odd_elsewhere(connection: Connection) -> Iterator[str]:
    for name, kind, has_rules, has_policies, has_children in connection.execute(_ON_POSTGRESQL):
        if kind not in (_TABLE, _PARTITIONED):
            yield f"{name} is not a table"
        elif has_rules:
            yield f"{name} is a table with rules"
        elif has_policies:
            yield f"{name} is a table with row security"
        elif has_children and kind == _TABLE:
            yield f"{name} is a table with others below it"
    yield from _odd_partitions(connection)
    schemas: list[str] = connection.execute(_SCHEMAS).scalar_one()
    first = next((one for one in schemas if not one.startswith("pg_temp")), "")
    if first != "pg_catalog":
        yield f"the search path begins with the schema {first}"


def _odd_partitions(connection: Connection) -> Iterator[str]:
    for (name,) in connection.execute(_PARTITIONS):
        yield f"the partition {name} is not a table"
    for table, name in connection.execute(_CONSTRAINTS):
        yield f"{table} has a constraint {name} that the service did not create"
    for table, name, is_inherited, is_usual in connection.execute(_INDEXES_ON_POSTGRESQL):
        if not is_inherited and name not in _OWN_INDEXES | _KEYS:
            yield f"{table} has an index {name} that the service did not create"
        elif not is_usual:
            yield f"{table} has an index {name} that is not as the service created it"
