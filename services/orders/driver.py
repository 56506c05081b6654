"""Runs statements on many rows directly in the driver, because every order needs them."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import to_json
from sqlmodel import Session

from shared.data.database import execute_in_driver


def run(
    session: Session, statements: Mapping[str, str], document: Any, columns: Sequence[Sequence[Any]]
) -> Any:
    """Run the database's statement on its rows: one JSON document for SQLite, arrays for PostgreSQL."""
    connection = session.connection()
    kind = connection.dialect.name
    given = (to_json(document).decode(),) if kind == "sqlite" else tuple(columns)
    return execute_in_driver(connection, statements[kind], given)
