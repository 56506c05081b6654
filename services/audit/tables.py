"""Whether the database shows the tables that the service created, not views or policies in their place.

These could hide a record from the queries of lists, and show it to a check, which reads by position.
"""

from collections.abc import Iterator

from sqlalchemy import text
from sqlmodel import Session

from services.audit.models import CHECKPOINTS, HOLDS, HORIZON, PERSONAL, RECORDS, TILES

_NAMES = [table.name for table in (RECORDS, PERSONAL, TILES, CHECKPOINTS, HORIZON, HOLDS)]
_LISTED = ", ".join(f"'{name}'" for name in _NAMES)
_ON_SQLITE = text(f"SELECT name, type FROM sqlite_master WHERE name IN ({_LISTED})")  # noqa: S608 - own names
# With functions and operators that a schema in the search path cannot replace.
_FOUND = ", ".join(f"pg_catalog.to_regclass('{name}')" for name in _NAMES)
_ON_POSTGRESQL = text(
    "SELECT relname, relkind::pg_catalog.text, relhasrules, relrowsecurity, relhassubclass"  # noqa: S608 - own names
    f" FROM pg_catalog.pg_class WHERE oid OPERATOR(pg_catalog.=) ANY (ARRAY[{_FOUND}]::pg_catalog.oid[])"
)
_SCHEMAS = text("SELECT pg_catalog.current_schemas(true)")
_TABLE, _PARTITIONED = "r", "p"  # as PostgreSQL calls them


def odd_tables(session: Session) -> Iterator[str]:
    """Return what is not as the service created it, in words."""
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        for name, kind in connection.execute(_ON_SQLITE):
            if kind != "table":
                yield f"{name} is a {kind}"
        return
    for name, kind, has_rules, has_policies, has_children in connection.execute(_ON_POSTGRESQL):
        if kind not in (_TABLE, _PARTITIONED):
            yield f"{name} is not a table"
        elif has_rules:
            yield f"{name} is a table with rules"
        elif has_policies:
            yield f"{name} is a table with row security"
        elif has_children and kind == _TABLE:
            yield f"{name} is a table with others below it"
    schemas: list[str] = connection.execute(_SCHEMAS).scalar_one()
    first = next((one for one in schemas if not one.startswith("pg_temp")), "")
    if first != "pg_catalog":
        yield f"the search path begins with the schema {first}"
