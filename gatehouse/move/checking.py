"""Finds rows of a SQLite file that PostgreSQL would refuse, before anything is copied.

SQLite checks neither the type nor the length of a value, and stores any bytes as text.
"""

import sqlite3
from collections.abc import Iterator
from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, Integer, LargeBinary, SmallInteger, Table

from gatehouse.move.rows import key_of, key_positions, quoted
from gatehouse.move.sqlite import Sqlite
from shared.data.database import UtcDateTime

NAMED_MAX = 20
_SHOWN_CHARACTERS = 60
_MOMENT = "-".join(["[0-9]" * 4, "[0-9]" * 2, "[0-9]" * 2]) + "T[0-9][0-9]:[0-9][0-9]:[0-9][0-9]."
_MOMENT += "[0-9]" * 6 + "+00:00"


def unfit_rows(source: Sqlite, tables: list[Table]) -> list[str]:
    """Return a sentence for each value that cannot be moved, at most NAMED_MAX."""
    found: list[str] = []
    for table in tables:
        found += _unfit_values(source.connection, table)
        if _has_broken_text(source.connection, table):
            found += _broken_texts(source.connection, table)
        if len(found) >= NAMED_MAX:
            return [*found[:NAMED_MAX], "there may be more"]
    return found


def _unfit_values(connection: sqlite3.Connection, table: Table) -> Iterator[str]:
    checks = [(column, *check) for column in table.columns for check in _checks(column)]
    any_of = " OR ".join(f"({condition})" for _, condition, _ in checks)
    query = f"SELECT rowid FROM {quoted(table.name)} WHERE {any_of} LIMIT {NAMED_MAX}"  # noqa: S608 - quoted
    for (number,) in connection.execute(query).fetchall():
        for column, condition, reason in checks:
            matching = f"SELECT 1 FROM {quoted(table.name)} WHERE rowid = ? AND ({condition})"  # noqa: S608 - quoted
            if connection.execute(matching, [number]).fetchone():
                yield f"{_named(connection, table, number)}: {column.name} {reason}"


def _checks(column: Column[Any]) -> Iterator[tuple[str, str]]:
    """Return conditions that must not be true, and their reasons."""
    name, kind = quoted(column.name), column.type
    if isinstance(kind, UtcDateTime):
        yield f"{name} IS NOT NULL AND NOT {name} GLOB '{_MOMENT}'", "is not a timestamp in UTC"
    elif isinstance(kind, Boolean):
        yield f"{name} IS NOT NULL AND {name} NOT IN (0, 1)", "is neither true nor false"
    elif isinstance(kind, Integer):
        bits = 16 if isinstance(kind, SmallInteger) else 64 if isinstance(kind, BigInteger) else 32
        yield f"typeof({name}) NOT IN ('null', 'integer')", "is no integer"
        if bits < 64:
            yield f"{name} NOT BETWEEN {-(1 << bits - 1)} AND {(1 << bits - 1) - 1}", "is too large"
    elif isinstance(kind, Float):
        yield f"typeof({name}) NOT IN ('null', 'real')", "is no number"
    elif isinstance(kind, LargeBinary):
        yield f"typeof({name}) NOT IN ('null', 'blob')", "is not binary"
    else:
        yield f"typeof({name}) NOT IN ('null', 'text')", "is no text"
        yield f"instr(CAST({name} AS BLOB), x'00') > 0", "contains U+0000, which PostgreSQL cannot store"
        if isinstance(kind, JSON):
            yield f"{name} IS NOT NULL AND NOT json_valid({name})", "is no JSON"
        if length := getattr(kind, "length", None):
            yield f"length({name}) > {length}", f"has more than {length} characters"


def _texts(table: Table) -> list[str]:
    others = (UtcDateTime, Boolean, Integer, Float, LargeBinary)
    return [column.name for column in table.columns if not isinstance(column.type, others)]


def _has_broken_text(connection: sqlite3.Connection, table: Table) -> bool:
    """Decode all text, as copying does; SQLite has no function that checks it."""
    columns = ", ".join(quoted(name) for name in _texts(table)) or "NULL"
    try:
        for _ in connection.execute(f"SELECT {columns} FROM {quoted(table.name)}"):  # noqa: S608 - quoted
            pass
    except sqlite3.OperationalError as error:
        if "decode" not in str(error).lower():
            raise
        return True
    return False


def _broken_texts(connection: sqlite3.Connection, table: Table) -> Iterator[str]:
    columns = ", ".join(f"CAST({quoted(name)} AS BLOB)" for name in _texts(table))
    named = 0
    for number, *values in connection.execute(f"SELECT rowid, {columns} FROM {quoted(table.name)}"):  # noqa: S608 - quoted
        for column, value in zip(_texts(table), values, strict=True):
            if value is not None and (reason := _decoding_fault(value)) and named < NAMED_MAX:
                named += 1
                yield f"{_named(connection, table, number)}: {column} {reason}"


def _decoding_fault(value: bytes) -> str:
    try:
        value.decode()
    except UnicodeDecodeError as error:
        first = value[error.start : error.start + 2]
        if len(first) == 2 and first[0] == 0xED and first[1] >= 0xA0:
            return "contains a lone surrogate, which is not a character"
        return f"is not UTF-8 at byte {error.start}"
    return ""


def _named(connection: sqlite3.Connection, table: Table, number: int) -> str:
    """Return the table and the key of the row."""
    columns = ", ".join(f"CAST({quoted(name)} AS BLOB)" for name in key_of(table))
    query = f"SELECT {columns} FROM {quoted(table.name)} WHERE rowid = ?"  # noqa: S608 - quoted
    values = connection.execute(query, [number]).fetchone()
    assert len(values) == len(key_positions(table))
    shown = ", ".join(
        f"{name} {value.decode(errors='backslashreplace')[:_SHOWN_CHARACTERS]!r}"
        for name, value in zip(key_of(table), values, strict=True)
    )
    return f"{table.name} with {shown}"
