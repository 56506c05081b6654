"""Statements for hot paths: compiled once, then executed directly by the driver.

For each execution, SQLAlchemy derives the statement's cache key and wraps the result; for a new object it
tracks every attribute. Reading one row by its key that way costs ten times as much as the database work.
These statements still run in the session's transaction.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple, NoReturn

from sqlalchemy import Column, Insert, Select, Table, insert
from sqlalchemy.engine import Dialect
from sqlmodel import Session

from shared.data.database import execute_in_driver

TABLES_MAX = 200

Convert = Callable[[Any], Any]


class Compiled(NamedTuple):
    """A statement compiled for one dialect, with converters for parameters and results."""

    text: str
    positions: tuple[str, ...] | None  # of the parameters; None if the driver takes them by name
    fixed: Mapping[str, Any]  # values that are part of the statement
    going_in: tuple[tuple[str, Convert], ...]
    names: tuple[str, ...]  # of the columns of a row
    coming_out: tuple[tuple[str, Convert], ...]

    @classmethod
    def of(cls, statement: Select[Any] | Insert, dialect: Dialect) -> "Compiled":
        compiled: Any = statement.compile(dialect=dialect)
        if compiled.post_compile_params or compiled.literal_execute_params:
            raise TypeError(f"the SQL text depends on the values: {compiled}")
        columns = [*statement.selected_columns] if isinstance(statement, Select) else []
        into = ((name, _into(compiled.binds[name].type, dialect)) for name in compiled.params)
        out = ((column.key, _out_of(column.type, dialect)) for column in columns)
        return cls(
            text=str(compiled),
            positions=tuple(compiled.positiontup) if compiled.positional else None,
            fixed={name: value for name, value in compiled.params.items() if value is not None},
            going_in=tuple((name, convert) for name, convert in into if convert),
            names=tuple(column.key for column in columns),
            coming_out=tuple((name, convert) for name, convert in out if convert),
        )

    def parameters(self, values: Mapping[str, Any]) -> Mapping[str, Any] | Sequence[Any]:
        given = {**self.fixed, **values}
        for name, convert in self.going_in:
            given[name] = convert(given[name])
        return given if self.positions is None else [given[name] for name in self.positions]


class Statement:
    """One statement, compiled once per dialect."""

    def __init__(self, statement: Select[Any] | Insert) -> None:
        self._statement = statement
        self._compiled: dict[str, Compiled] = {}

    def execute(self, session: Session, values: Mapping[str, Any]) -> tuple[Compiled, Any]:
        connection = session.connection()
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = Compiled.of(self._statement, dialect)
        return compiled, execute_in_driver(connection, compiled.text, compiled.parameters(values))


class Rows(Statement):
    """A SELECT; each value that varies between executions is a `bindparam`."""

    def rows(self, session: Session, **values: Any) -> list[dict[str, Any]]:
        """Return the rows, by column name."""
        compiled, cursor = self.execute(session, values)
        names = compiled.names
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        for name, convert in compiled.coming_out:
            for row in rows:
                row[name] = convert(row[name])
        return rows

    def one(self, session: Session, **values: Any) -> dict[str, Any] | None:
        """Return the only row; None if there is none."""
        rows = self.rows(session, **values)
        assert len(rows) <= 1, "more than one row"
        return rows[0] if rows else None


def insert_row(session: Session, table: Table, **values: Any) -> dict[str, Any]:
    """Insert one row, with defaults for missing columns, and return it."""
    statement, defaults = _insertion(table)
    row = {name: values.pop(name) if name in values else default() for name, default in defaults.items()}
    if values:
        raise TypeError(f"{table.name} has no column {', '.join(values)}")
    statement.execute(session, row)
    return row


@lru_cache(maxsize=TABLES_MAX)
def _insertion(table: Table) -> tuple[Statement, dict[str, Callable[[], Any]]]:
    return Statement(insert(table)), {column.name: _default(column) for column in table.columns}


def _default(column: Column[Any]) -> Callable[[], Any]:
    default: Any = column.default
    if default is None:
        return (lambda: None) if column.nullable else partial(_missing, column)
    return partial(default.arg, None) if default.is_callable else lambda: default.arg


def _missing(column: Column[Any]) -> NoReturn:
    raise TypeError(f"{column} is required")


def _into(kind: Any, dialect: Dialect) -> Convert | None:
    convert: Convert | None = kind.dialect_impl(dialect).bind_processor(dialect)
    return convert


def _out_of(kind: Any, dialect: Dialect) -> Convert | None:
    convert: Convert | None = kind.dialect_impl(dialect).result_processor(dialect, None)
    return convert
