"""Statements of the hot paths: compiled once, then run by the driver itself.

For each execution SQLAlchemy derives the cache key of a statement and wraps its result, and for a new object
it tracks every attribute. For one row by its key that costs ten times as much as the database does. What runs
here is part of the session's transaction like everything else.
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
    """A statement compiled for one kind of database, with the conversions of values in and out."""

    text: str
    positions: tuple[str, ...] | None  # of the parameters; None where the driver takes them by name
    fixed: Mapping[str, Any]  # values that are part of the statement
    going_in: tuple[tuple[str, Convert], ...]
    names: tuple[str, ...]  # of the columns of a row
    coming_out: tuple[tuple[str, Convert], ...]

    @classmethod
    def of(cls, statement: Select[Any] | Insert, dialect: Dialect) -> "Compiled":
        compiled: Any = statement.compile(dialect=dialect)
        if compiled.post_compile_params or compiled.literal_execute_params:
            raise TypeError(f"its text depends on its values: {compiled}")
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
    """One statement, compiled once for each kind of database."""

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
    """A SELECT; what differs from one execution to the next is a `bindparam` in it."""

    def rows(self, session: Session, **values: Any) -> list[dict[str, Any]]:
        """The rows, each by column name."""
        compiled, cursor = self.execute(session, values)
        names = compiled.names
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        for name, convert in compiled.coming_out:
            for row in rows:
                row[name] = convert(row[name])
        return rows

    def one(self, session: Session, **values: Any) -> dict[str, Any] | None:
        """The only row; None when there is none."""
        rows = self.rows(session, **values)
        assert len(rows) <= 1, "more than one row"
        return rows[0] if rows else None


def insert_row(session: Session, table: Table, **values: Any) -> dict[str, Any]:
    """Insert one row and return it with the defaults of columns that are not given."""
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
    raise TypeError(f"{column} must be given")


def _into(kind: Any, dialect: Dialect) -> Convert | None:
    convert: Convert | None = kind.dialect_impl(dialect).bind_processor(dialect)
    return convert


def _out_of(kind: Any, dialect: Dialect) -> Convert | None:
    convert: Convert | None = kind.dialect_impl(dialect).result_processor(dialect, None)
    return convert
