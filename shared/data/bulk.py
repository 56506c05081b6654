"""Puts many rows or values into one statement, whose SQL text is the same for any number of them.

SQLAlchemy compiles a new statement, with one placeholder per value, for every row count; psycopg sends one
statement per row. On PostgreSQL it is cheaper to send a batch as one JSON document.
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
    """Insert rows that all have the same columns, none of them binary."""
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
        raise TypeError(f"{table.name} has binary columns, which JSON cannot represent")
    columns = ", ".join(f'"{name}"' for name in names)
    rows = f'json_populate_recordset(NULL::"{table.name}", %s::json)'
    return f'INSERT INTO "{table.name}" ({columns}) SELECT {columns} FROM {rows}'  # noqa: S608 - names of ours


def one_of(session: Session, column: ColumnElement[Any], values: Iterable[Any]) -> ColumnElement[bool]:
    """Return the condition that a column has one of these values, which are sent as one parameter."""
    if session.get_bind().dialect.name == "postgresql":
        return column == any_(literal([*values], postgresql.ARRAY(column.type)))
    document = func.json_each(to_json([*values]).decode()).table_valued("value")
    return column.in_(select(document.c.value))
