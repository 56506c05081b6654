"""Whether PostgreSQL shows the tables that the service created, and compares their values itself."""

import hashlib
from collections.abc import Iterator

from sqlalchemy import Connection, text

from services.audit.models import Table

_TABLES = Table.metadata.tables
_KEYS = {f"{name}_pkey" for name in _TABLES} | {
    f"{table.name}_{column.name}_key" for table in _TABLES.values() for column in table.c if column.unique
}
_NAMES = ", ".join(f"'{name}'" for name in _TABLES)
_OWN_INDEXES = {index.name for table in _TABLES.values() for index in table.indexes} | _KEYS
_DEFAULT_COLLATION, _FIRST_OWN_OID = 100, 16384  # constants of PostgreSQL
_BUILT_IN = f"< '{_FIRST_OWN_OID}'::oid"
_FIRES_ON_INSERT = 4  # a bit of `tgtype`
GUARDED = ("records", "personal", "tiles", "checkpoints", "horizon")  # by triggers that refuse a change
# The functions of these triggers, with the SHA-256 of their bodies: one that does more could undo an erasure.
_GUARDS = {
    "refuse_change": "f32baa678920eaaba98399d27ebd93d102c0082df0bc0f210b66ec83978d6d66",
    "refuse_emptying": "624f07d92e6251db0c89ad3e3d95ba581fa87b55a077649baa29d238a22944a9",
}

# The tables that the service finds, and the schemas in which it looks.
_EVERY = ", ".join(f"pg_catalog.to_regclass('{name}')" for name in _TABLES)
_FOUND = text(f"SELECT CAST(ARRAY[{_EVERY}]::pg_catalog.oid[] AS pg_catalog.text)")
_SCHEMAS = text("SELECT pg_catalog.current_schemas(true), pg_catalog.current_setting('search_path')")
_SEARCH = text("SELECT pg_catalog.set_config('search_path', :schemas, true)")
# Whoever can create a function `unnest(oid[])` could otherwise hide everything from the queries below.
_ONLY_ITS_OWN = "pg_catalog, pg_temp"
_OWN = "(SELECT unnest(CAST(:every AS oid[])) AS oid)"
_ON_POSTGRESQL = text(
    "SELECT relname, relkind::text, relhasrules, relrowsecurity, relhassubclass"  # noqa: S608 - own names
    f" FROM pg_class WHERE oid IN {_OWN}"
)
_FAMILY = (
    f"WITH own AS {_OWN}, family AS (SELECT oid, oid AS whole FROM own"  # noqa: S608 - own names
    " UNION SELECT inhrelid, inhparent FROM pg_inherits JOIN own ON inhparent = own.oid) "
)
_PARTITIONS = text(
    f"{_FAMILY}SELECT relname FROM family JOIN pg_class USING (oid)"  # noqa: S608 - own names
    " WHERE oid NOT IN (SELECT oid FROM own WHERE oid IS NOT NULL) AND relkind <> 'r' ORDER BY relname"
)
# The planner skips a partition whose constraint contradicts a query. A foreign key can delete rows elsewhere.
_CONSTRAINTS = text(
    f"{_FAMILY}SELECT relname, conname FROM pg_constraint JOIN family ON conrelid = family.oid"  # noqa: S608 - own names
    " JOIN pg_class ON pg_class.oid = conrelid WHERE contype IN ('c', 'f', 'x') ORDER BY conname"
)
_INDEXES_ON_POSTGRESQL = text(
    f"{_FAMILY}SELECT of_table.relname, made.relname, EXISTS"  # noqa: S608 - own names
    " (SELECT 1 FROM pg_inherits WHERE inhrelid = indexrelid),"
    " indisvalid AND indisready AND indislive AND indexprs IS NULL AND NOT EXISTS"
    " (SELECT 1 FROM pg_opclass WHERE pg_opclass.oid = ANY (indclass::oid[]) AND NOT opcdefault), indisunique"
    " FROM pg_index JOIN family ON indrelid = family.oid JOIN pg_class AS of_table ON of_table.oid = indrelid"
    " JOIN pg_class AS made ON made.oid = indexrelid ORDER BY 2"
)
# A collation may have another order than the ids, so that a list begins elsewhere, and a type may have
# operators of its own. Partitions have the same.
_COLUMNS = text(
    "SELECT relname, attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid"  # noqa: S608 - own names
    f" WHERE attrelid IN {_OWN} AND attnum > 0 AND NOT attisdropped"
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
    # A type is sorted by its default operator class; `varchar` has none, and is sorted like `text`.
    " UNION SELECT 'operator class', opcname FROM pg_opclass JOIN pg_am ON pg_am.oid = opcmethod"
    f" WHERE amname IN ('btree', 'hash') AND opcdefault AND NOT pg_opclass.oid {_BUILT_IN}"
    f" AND opcintype {_BUILT_IN} ORDER BY 1, 2"
)
# A trigger runs in the session of the service, where a temporary view or table comes before the real one.
_TEMPORARY = text(
    "SELECT DISTINCT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"  # noqa: S608 - own names
    f" WHERE nspname LIKE 'pg^_temp^_%' ESCAPE '^' AND relname IN ({_NAMES}) ORDER BY 1"
)
# The condition of a guard compares columns. Anything else in it could be a function that changes something.
_IS_PLAIN = (
    "lanname = 'plpgsql' AND proconfig IS NULL AND NOT EXISTS (SELECT 1 FROM pg_depend WHERE"  # noqa: S608 - own names
    " classid = 'pg_trigger'::regclass AND objid = pg_trigger.oid AND refclassid <> 'pg_class'::regclass"
    f" AND NOT refobjid {_BUILT_IN} AND NOT (refclassid = 'pg_proc'::regclass AND refobjid = tgfoid))"
    " AND NOT EXISTS (SELECT 1 FROM pg_proc AS used WHERE provolatile <> 'i' AND used.oid::text IN"
    " (SELECT (regexp_matches(tgqual::text, 'funcid ([0-9]+)', 'g'))[1]))"
)
_TRIGGERS = text(
    f"{_FAMILY}SELECT here.relname, whole.relname, tgname, tgtype::int4, proname, prosrc, {_IS_PLAIN}"  # noqa: S608 - own names
    " FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid JOIN pg_language ON pg_language.oid = prolang"
    " JOIN family ON tgrelid = family.oid JOIN pg_class AS here ON here.oid = tgrelid"
    " JOIN pg_class AS whole ON whole.oid = family.whole WHERE NOT tgisinternal AND tgparentid = 0"
    " ORDER BY 1, 3"
)
# They run in the sessions of the service when it creates or drops a partition, and from PostgreSQL 17 on also
# when it connects. Some managed services have their own, and nothing here tells whether those are harmless.
_EVENT_TRIGGERS = text("SELECT evtname FROM pg_event_trigger ORDER BY 1")
_ADDED = text(
    "SELECT relname, attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid"  # noqa: S608 - own names
    f" WHERE attrelid IN {_OWN} AND attnum > 0 AND NOT attisdropped"
    " AND (attgenerated <> '' OR NOT relname || '.' || attname = ANY (:own)) ORDER BY 1, 2"
)
_OWN_COLUMNS = [
    f"{name}.{column.name}" for name, table in Table.metadata.tables.items() for column in table.c
]
# The row as JSON, because versions of PostgreSQL name these columns differently.
_DATABASE = text("SELECT to_jsonb(pg_database) FROM pg_database WHERE datname = current_database()")
_TABLE, _PARTITIONED = "r", "p"  # as PostgreSQL calls them


def odd_on_postgresql(connection: Connection) -> Iterator[str]:
    every: str = connection.execute(_FOUND).scalar_one()
    schemas, search_path = connection.execute(_SCHEMAS).one()
    connection.execute(_SEARCH, {"schemas": _ONLY_ITS_OWN})
    yield from _odd(connection, every)
    connection.execute(_SEARCH, {"schemas": search_path})
    first = next((one for one in schemas if not one.startswith("pg_temp")), "")
    if first != "pg_catalog":
        yield f"the search path begins with the schema {first}"


def _odd(connection: Connection, every: str) -> Iterator[str]:
    """`every` names the tables of the service by their numbers, which no schema can replace."""
    found = connection.execute(_ON_POSTGRESQL, {"every": every})
    for name, kind, has_rules, has_policies, has_children in found:
        if kind not in (_TABLE, _PARTITIONED):
            yield f"{name} is not a table"
        elif has_rules:
            yield f"{name} is a table with rules"
        elif has_policies:
            yield f"{name} is a table with row security"
        elif has_children and kind == _TABLE:
            yield f"{name} is a table with others below it"
    yield from _odd_partitions(connection, every)
    yield from _odd_indexes(connection, every)
    yield from _odd_sessions(connection)
    yield from _odd_triggers(connection, every)
    yield from _odd_order(connection)


def _odd_partitions(connection: Connection, every: str) -> Iterator[str]:
    for (name,) in connection.execute(_PARTITIONS, {"every": every}):
        yield f"the partition {name} is not a table"
    for table, name in connection.execute(_CONSTRAINTS, {"every": every}):
        yield f"{table} has a constraint {name} that the service did not create"
    for table, column in connection.execute(_COLUMNS, {"every": every}):
        yield f"the column {column} of {table} has a type or a collation that the service did not choose"
    for table, column in connection.execute(_ADDED, {"every": every, "own": _OWN_COLUMNS}):
        yield f"{table} has a column {column} that the service did not create"


def _odd_order(connection: Connection) -> Iterator[str]:
    """Return whether the locale of the whole database has rules of its own, such as letters before digits."""
    database = connection.execute(_DATABASE).scalar_one()
    locale = database.get("datlocale") or database.get("daticulocale") or ""
    if database.get("daticurules") or "-u-" in locale or "@" in locale:
        yield f"the database has a locale with rules of its own: {locale}"


def _odd_indexes(connection: Connection, every: str) -> Iterator[str]:
    """A unique index makes `ON CONFLICT DO NOTHING` drop rows that differ in other columns."""
    found = connection.execute(_INDEXES_ON_POSTGRESQL, {"every": every})
    for table, name, is_inherited, is_usual, is_unique in found:
        if not is_inherited and name not in _OWN_INDEXES:
            yield f"{table} has an index {name} that the service did not create"
        elif not is_usual or (not is_inherited and is_unique != (name in _KEYS)):
            yield f"{table} has an index {name} that is not as the service created it"


def _odd_sessions(connection: Connection) -> Iterator[str]:
    """Return what makes a query mean something else in the sessions of the service."""
    for name in connection.execute(_TEMPORARY).scalars():
        yield f"a session has a temporary {name}"
    for kind, name in connection.execute(_OVERLOADS):
        yield f"there is {'a' if kind == 'function' else 'an'} {kind} {name} beside that of PostgreSQL"


def _odd_triggers(connection: Connection, every: str) -> Iterator[str]:
    """Return those that do more than to refuse a change."""
    found = connection.execute(_TRIGGERS, {"every": every})
    for table, whole, name, fires_on, function, body, is_plain in found:
        own = {f"{whole}_refuse_{event}" for event in ("update", "delete", "truncate")}
        is_own = whole in GUARDED and name in own | ({"refuse_truncate"} if table != whole else set())
        only_refuses = is_plain and _GUARDS.get(function) == hashlib.sha256(body.encode()).hexdigest()
        if not (is_own and only_refuses) or fires_on & _FIRES_ON_INSERT:
            yield f"{table} has a trigger {name} that the service did not create"
    for name in connection.execute(_EVENT_TRIGGERS).scalars():
        yield f"the database has an event trigger {name} that the service did not create"
