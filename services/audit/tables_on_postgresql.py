"""Whether PostgreSQL shows the tables that the service created, and compares their values itself."""

import hashlib
from collections.abc import Iterator

from sqlalchemy import Connection, text

from services.audit.models import CHECKPOINTS, HOLDS, HORIZON, PERSONAL, RECORDS, TILES, Table

_NAMES = [table.name for table in (RECORDS, PERSONAL, TILES, CHECKPOINTS, HORIZON, HOLDS)]
LISTED = ", ".join(f"'{name}'" for name in _NAMES)
_OWN_INDEXES = {index.name for index in RECORDS.indexes} | {f"{name}_pkey" for name in _NAMES}
_DEFAULT_COLLATION, _FIRST_OWN_OID = 100, 16384  # constants of PostgreSQL
_BUILT_IN = f"< '{_FIRST_OWN_OID}'::oid"
_FIRES_ON_INSERT = 4  # a bit of `tgtype`
GUARDED = ("records", "personal", "tiles", "checkpoints", "horizon")  # by triggers that refuse a change
# The functions of these triggers, with the SHA-256 of their bodies: one that does more could undo an erasure.
_GUARDS = {
    "refuse_change": "f32baa678920eaaba98399d27ebd93d102c0082df0bc0f210b66ec83978d6d66",
    "refuse_emptying": "624f07d92e6251db0c89ad3e3d95ba581fa87b55a077649baa29d238a22944a9",
}

# With functions and operators that a schema in the search path cannot replace.
_FOUND = ", ".join(f"pg_catalog.to_regclass('{name}')" for name in _NAMES)
_EVERY = ", ".join(f"pg_catalog.to_regclass('{name}')" for name in Table.metadata.tables)
_ON_POSTGRESQL = text(
    "SELECT relname, relkind::pg_catalog.text, relhasrules, relrowsecurity, relhassubclass"  # noqa: S608 - own names
    f" FROM pg_catalog.pg_class WHERE oid OPERATOR(pg_catalog.=) ANY (ARRAY[{_EVERY}]::pg_catalog.oid[])"
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
# A collation may have another order than the ids, so that a list begins elsewhere, and a type may have
# operators of its own. Partitions have the same.
_COLUMNS = text(
    "SELECT relname, attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid"  # noqa: S608 - own names
    f" WHERE attrelid = ANY (ARRAY[{_FOUND}]::oid[]) AND attnum > 0 AND NOT attisdropped"
    f" AND (attcollation <> ALL (ARRAY[0, {_DEFAULT_COLLATION}]::oid[]) OR NOT atttypid {_BUILT_IN})"
    " ORDER BY 1, 2"
)
# What takes exactly the types of a query is preferred to PostgreSQL's own for similar types, although its
# schema comes later in the search path. Extensions bring some, too, but for types of their own.
_OVERLOADS = text(
    "SELECT 'operator', oprname FROM pg_operator WHERE oprname IN ('=', '<>', '<', '<=', '>', '>=')"  # noqa: S608 - own names
    f" AND NOT oid {_BUILT_IN} AND oprleft {_BUILT_IN} AND oprright {_BUILT_IN}"
    " UNION SELECT 'function', proname FROM pg_proc"
    " WHERE proname IN ('max', 'min', 'sum', 'count', 'length', 'pg_advisory_xact_lock')"
    f" AND NOT oid {_BUILT_IN} AND NOT EXISTS"
    f" (SELECT 1 FROM unnest(proargtypes::oid[]) AS type WHERE NOT type {_BUILT_IN})"
    # By its default class a type is sorted; `varchar` has none, and is sorted like `text`.
    " UNION SELECT 'operator class', opcname FROM pg_opclass JOIN pg_am ON pg_am.oid = opcmethod"
    f" WHERE amname IN ('btree', 'hash') AND opcdefault AND NOT pg_opclass.oid {_BUILT_IN}"
    f" AND opcintype {_BUILT_IN} ORDER BY 1, 2"
)
# A trigger runs in the session of the service, where a temporary view or table comes before the real one.
_TEMPORARY = text(
    "SELECT DISTINCT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"  # noqa: S608 - own names
    f" WHERE nspname LIKE 'pg^_temp^_%' ESCAPE '^' AND relname IN ({LISTED}) ORDER BY 1"
)
_TRIGGERS = text(
    f"WITH own AS (SELECT unnest(ARRAY[{_EVERY}]::oid[]) AS oid),"  # noqa: S608 - own names
    " family AS (SELECT oid, oid AS whole FROM own"
    " UNION SELECT inhrelid, inhparent FROM pg_inherits JOIN own ON inhparent = own.oid)"
    " SELECT here.relname, whole.relname, tgname, tgtype::int4, proname, prosrc FROM pg_trigger"
    " JOIN pg_proc ON pg_proc.oid = tgfoid"
    " JOIN family ON tgrelid = family.oid JOIN pg_class AS here ON here.oid = tgrelid"
    " JOIN pg_class AS whole ON whole.oid = family.whole WHERE NOT tgisinternal AND tgparentid = 0"
    " ORDER BY 1, 3"
)
_ADDED = text(
    "SELECT relname, attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid"  # noqa: S608 - own names
    f" WHERE attrelid = ANY (ARRAY[{_EVERY}]::oid[]) AND attnum > 0 AND NOT attisdropped"
    " AND (attgenerated <> '' OR NOT relname || '.' || attname = ANY (:own)) ORDER BY 1, 2"
)
_OWN_COLUMNS = [
    f"{name}.{column.name}" for name, table in Table.metadata.tables.items() for column in table.c
]
# The row as JSON, because versions of PostgreSQL name these columns differently.
_DATABASE = text("SELECT to_jsonb(pg_database) FROM pg_database WHERE datname = current_database()")
_SCHEMAS = text("SELECT pg_catalog.current_schemas(true)")
_TABLE, _PARTITIONED = "r", "p"  # as PostgreSQL calls them


def odd_on_postgresql(connection: Connection) -> Iterator[str]:
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
    yield from _odd_indexes(connection)
    yield from _odd_sessions(connection)
    yield from _odd_order(connection)
    schemas: list[str] = connection.execute(_SCHEMAS).scalar_one()
    first = next((one for one in schemas if not one.startswith("pg_temp")), "")
    if first != "pg_catalog":
        yield f"the search path begins with the schema {first}"


def _odd_partitions(connection: Connection) -> Iterator[str]:
    for (name,) in connection.execute(_PARTITIONS):
        yield f"the partition {name} is not a table"
    for table, name in connection.execute(_CONSTRAINTS):
        yield f"{table} has a constraint {name} that the service did not create"
    for table, column in connection.execute(_COLUMNS):
        yield f"the column {column} of {table} has a type or a collation that the service did not choose"
    for table, column in connection.execute(_ADDED, {"own": _OWN_COLUMNS}):
        yield f"{table} has a column {column} that the service did not create"


def _odd_order(connection: Connection) -> Iterator[str]:
    """Return whether the locale of the whole database has rules of its own, such as letters before digits."""
    database = connection.execute(_DATABASE).scalar_one()
    locale = database.get("datlocale") or database.get("daticulocale") or ""
    if database.get("daticurules") or "-u-" in locale or "@" in locale:
        yield f"the database has a locale with rules of its own: {locale}"


def _odd_indexes(connection: Connection) -> Iterator[str]:
    for table, name, is_inherited, is_usual in connection.execute(_INDEXES_ON_POSTGRESQL):
        if not is_inherited and name not in _OWN_INDEXES:
            yield f"{table} has an index {name} that the service did not create"
        elif not is_usual:
            yield f"{table} has an index {name} that is not as the service created it"


def _odd_sessions(connection: Connection) -> Iterator[str]:
    """Return what makes a query mean something else in the sessions of the service."""
    for name in connection.execute(_TEMPORARY).scalars():
        yield f"a session has a temporary {name}"
    for kind, name in connection.execute(_OVERLOADS):
        yield f"there is {'a' if kind == 'function' else 'an'} {kind} {name} beside that of PostgreSQL"
    for table, whole, name, fires_on, function, body in connection.execute(_TRIGGERS):
        own = {f"{whole}_refuse_{event}" for event in ("update", "delete", "truncate")}
        is_own = whole in GUARDED and name in own | ({"refuse_truncate"} if table != whole else set())
        only_refuses = _GUARDS.get(function) == hashlib.sha256(body.encode()).hexdigest()
        if not (is_own and only_refuses) or fires_on & _FIRES_ON_INSERT:
            yield f"{table} has a trigger {name} that the service did not create"
