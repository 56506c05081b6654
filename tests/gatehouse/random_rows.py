"""Random rows for every table of a service, with the values on which copies between databases break."""

import json
import random
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
)

from shared.data.database import UtcDateTime

_FIRST = datetime(2026, 8, 30, tzinfo=UTC)
_PIECES = ["a", "Z", "9", "\\N", "\\", "\t", "\n", "\r", "'", '"', "\x01", "\x7f", "é", "e\u0301", "ß", "漢"]
_PIECES += ["\u2028", "\U0001f600", "\U0010ffff", " ", "%", "{}", ",", "\\x41"]
_TIMES = 4  # how many more rows are tried than wanted: constraints refuse some


def fill(file: Path, metadata: MetaData, seed: int, rows: int) -> dict[str, int]:
    """Insert about this number of rows into each table; return how many there are."""
    chance = random.Random(seed)
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("BEGIN")
    counts = {}
    for table in metadata.sorted_tables:
        columns = ", ".join(f'"{column.name}"' for column in table.columns)
        insert = (
            f'INSERT OR IGNORE INTO "{table.name}" ({columns}) VALUES ({", ".join("?" * len(table.columns))})'
        )
        parents = {column.name: _parents(connection, column) for column in table.columns}
        for _ in range(rows * _TIMES):
            values = [_value(column, parents[column.name], chance) for column in table.columns]
            connection.execute(insert, values)
            (counts[table.name],) = connection.execute(f'SELECT count(*) FROM "{table.name}"').fetchone()
            if counts[table.name] >= rows:
                break
    connection.execute("COMMIT")
    connection.close()
    return counts


def _parents(connection: sqlite3.Connection, column: Column[Any]) -> list[Any]:
    for key in column.foreign_keys:
        query = f'SELECT "{key.column.name}" FROM "{key.column.table.name}" LIMIT 1000'
        return [value for (value,) in connection.execute(query)]
    return []


def _value(column: Column[Any], parents: list[Any], chance: random.Random) -> Any:
    if column.nullable and chance.random() < 0.3:
        return None
    if column.foreign_keys:
        return chance.choice(parents) if parents else None
    if (allowed := _allowed(column)) is not None:
        return chance.choice(allowed)
    return _of_kind(column, chance)


def _allowed(column: Column[Any]) -> list[Any] | None:
    """Return small numbers if a check limits the column."""
    table = column.table
    assert isinstance(table, Table)
    checks = [str(one.sqltext) for one in table.constraints if isinstance(one, CheckConstraint)]
    return [1] if any(column.name in check for check in checks) else None


def _of_kind(column: Column[Any], chance: random.Random) -> Any:  # noqa: PLR0911 - one for each kind
    kind: Any = column.type
    if isinstance(kind, UtcDateTime):
        moment = _FIRST + timedelta(microseconds=chance.randrange(90 * 24 * 3600 * 1_000_000))
        return moment.isoformat(timespec="microseconds")
    if isinstance(kind, Boolean):
        return chance.randrange(2)
    if isinstance(kind, Integer):
        bits = 15 if isinstance(kind, SmallInteger) else 62 if isinstance(kind, BigInteger) else 31
        return chance.randrange(1 << chance.randrange(1, bits))
    if isinstance(kind, Float):
        return chance.choice([0.1, -1e300, 5e-324, chance.random()])
    if isinstance(kind, LargeBinary):
        return chance.randbytes(chance.randrange(300))
    if isinstance(kind, JSON):
        return json.dumps({_text(chance, 5): [_text(chance, 9), None, 1.5, True]})
    length = getattr(kind, "length", None)
    if length == 36:
        return str(UUID(int=chance.getrandbits(128), version=4))
    return _text(chance, min(length or 40, 40))


def _text(chance: random.Random, longest: int) -> str:
    text = "".join(chance.choice(_PIECES) for _ in range(chance.randrange(longest + 1)))
    return text[:longest]


def fill_log(file: Path, records: int) -> None:
    """Write this number of records and as many rows with their personal data."""
    connection = sqlite3.connect(file)
    number = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {records}) "
    time = "'2026-10-01T12:00:00.000000+00:00'"
    uuid = "printf('01995f00-0000-7000-8000-%012x', i)"
    hashed = "hex(randomblob(32))"
    connection.execute(
        f"{number} INSERT INTO records SELECT i, {time}, {uuid}, 'ORDER_CREATED', 'success', 201, 'orders',"
        f" {uuid}, 'user ' || i, {uuid}, {time}, {uuid}, NULL, {hashed}, {hashed} FROM n"
    )
    connection.execute(
        f"{number} INSERT INTO personal SELECT i, {time}, '192.0.2.1', 'Mozilla/5.0 (X11; Linux x86_64)',"
        " hex(randomblob(16)), NULL, json_object('quantity', 1, 'sku', i), hex(randomblob(16)), NULL FROM n"
    )
    connection.commit()
    connection.close()
