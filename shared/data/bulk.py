"""Many rows or values in one statement, whose text is the same however many they are.

SQLAlchemy writes a statement with a place for each value anew for every number of them, and psycopg sends one
statement for each row. For PostgreSQL a batch is cheaper as one document that the server takes apart.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from pydantic_core import to_json
from sqlalchemy import ColumnElement, LargeBinary, Table, any_, func, insert, literal, select
from sqlalchemy.dialects import postgresql
from sqlmodel import Session

from shared.data.database import execute_in_driver


def insert_rows(session: Session, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that all give the same columns, and no bytes."""
    connection = session.connection()
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        statement = _insert_from_document(table, tuple(rows[0]))
        execute_in_driver(connection, statement, (to_json(rows).decode(),))
    else:
        connection.execute(insert(table), rows)


@cache
def _insert_from_document(table: Table, names: tuple[str, ...]) -> str:
    if any(isinstance(table.c[name].type, LargeBinary) for name in names):
        raise TypeError(f"{table.name} holds bytes, which JSON does not")
    columns = ", ".join(f'"{name}"' for name in names)
    rows = f'json_populate_recordset(NULL::"{table.name}", %s::json)'
    return f'INSERT INTO "{table.name}" ({columns}) SELECT {columns} FROM {rows}'  # noqa: S608 - names of ours


def one_of(session: Session, column: ColumnElement[Any], values: Iterable[Any]) -> ColumnElement[bool]:
    """Whether a column is one of these values, which travel as one parameter."""
    if session.get_bind().dialect.name == "postgresql":
        return column == any_(literal([*values], postgresql.ARRAY(column.type)))
    document = func.json_each(to_json([*values]).decode()).table_valued("value")
    return column.in_(select(document.c.value))
