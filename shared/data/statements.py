"""Statements for hot paths: compiled once, then executed directly by the driver.

For each execution, SQLAlchemy derives the statement's cache key and wraps the result; for a new object it
tracks every attribute. Reading one row by its key that way costs ten times as much as the database work.
These statements still run in the session's transaction.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, NamedTuple, NoReturn

from sqlalchemy import Column, Delete, Insert, Select, Table, Update, bindparam, delete, insert, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlmodel import Session

from shared.data.database import execute_in_driver, from_text
from shared.data.reading import Reader
from shared.data.together import common_of

TABLES_MAX = 200

Convert = Callable[[Any], Any]
Executable = Select[Any] | Insert | Update | Delete


class Compiled(NamedTuple):
    """A statement compiled for one dialect, with converters for parameters and results."""

    text: str
    positions: tuple[str, ...] | None  # of the parameters; None if the driver takes them by name
    fixed: Mapping[str, Any]  # values that are part of the statement
    going_in: tuple[tuple[str, Convert], ...]
    names: tuple[str, ...]  # of the columns of a row
    coming_out: tuple[tuple[str, Convert], ...]

    @classmethod
    def of(cls, statement: Executable, dialect: Dialect) -> "Compiled":
        compiled: Any = statement.compile(dialect=dialect)
        if compiled.post_compile_params or compiled.literal_execute_params:
            raise TypeError(f"the SQL text depends on the values: {compiled}")
        columns: list[Any] = [*statement.exported_columns]  # of a SELECT, or of RETURNING
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
        return given if self.positions is None else tuple([given[name] for name in self.positions])


class Statement:
    """One statement, compiled once per dialect."""

    def __init__(self, statement: Executable) -> None:
        self._statement = statement
        self._compiled: dict[str, Compiled] = {}

    def execute(self, session: Reader, values: Mapping[str, Any]) -> tuple[Compiled, Any]:
        connection = session.connection()
        compiled = self.compiled(connection.dialect)
        return compiled, execute_in_driver(connection, compiled.text, compiled.parameters(values))

    def compiled(self, dialect: Dialect) -> Compiled:
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = Compiled.of(self._statement, dialect)
        return compiled


class Rows(Statement):
    """A SELECT or a RETURNING; each value that varies between executions is a `bindparam`."""

    def rows(self, session: Reader, **values: Any) -> list[dict[str, Any]]:
        """Return the rows, by column name."""
        compiled, cursor = self.execute(session, values)
        names = compiled.names
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        for name, convert in compiled.coming_out:
            for row in rows:
                if (value := row[name]) is not None:
                    row[name] = convert(value)
        return rows

    def one(self, session: Reader, **values: Any) -> dict[str, Any] | None:
        """Return the only row; None if there is none."""
        rows = self.rows(session, **values)
        assert len(rows) <= 1, "more than one row"
        return rows[0] if rows else None


def upsert_of(table: Table, *changed: str) -> postgresql.Insert:
    """Return an INSERT of whole rows that overwrites these columns of a row with the same primary key.

    Its parameters are named after the columns. SQLite compiles it too.
    """
    adding = postgresql.insert(table).values({name: bindparam(name) for name in table.c.keys()})  # noqa: SIM118 - a collection of columns, not a dict
    changes = {name: adding.excluded[name] for name in changed}
    return adding.on_conflict_do_update(index_elements=[*table.primary_key], set_=changes)


def deletion_of(key: Column[Any], moment: Column[Any], rows_max: int) -> Delete:
    """Return a DELETE of some rows whose `moment` is before the parameter `before`.

    Locked rows are skipped, so that concurrent deletions never wait for each other.
    """
    old = select(key).where(moment < bindparam("before")).limit(rows_max).with_for_update(skip_locked=True)
    # Both conditions, because the key may be only a part of the primary key.
    return delete(key.table).where(key.in_(old), moment < bindparam("before"))


def insert_row(session: Session, table: Table, **values: Any) -> dict[str, Any]:
    """Insert one row, with defaults for missing columns, and return it."""
    statement, row = _new_row(table, values)
    statement.execute(session, row)
    return row


def insert_row_at_end(session: Session, table: Table, **values: Any) -> dict[str, Any]:
    """Do the same, but in a transaction of several requests at its end, with all their rows at once.

    For rows that nothing in the transaction reads or changes again. Insert a row before those that refer to
    it.
    """
    common = common_of(session)
    if common is None:
        return insert_row(session, table, **values)
    statement, row = _new_row(table, values)
    compiled = statement.compiled(session.get_bind().dialect)
    common.insert(compiled.text, compiled.parameters(row))
    return row


def _new_row(table: Table, values: dict[str, Any]) -> tuple[Statement, dict[str, Any]]:
    statement, defaults = _insertion(table)
    row = {name: values.pop(name) if name in values else default() for name, default in defaults.items()}
    if values:
        raise TypeError(f"{table.name} has no column {', '.join(values)}")
    return statement, row


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
    """Return the function that converts a value from the driver; it is never given NULL."""
    convert: Convert | None = kind.dialect_impl(dialect).result_processor(dialect, None)
    return datetime.fromisoformat if convert is from_text else convert
