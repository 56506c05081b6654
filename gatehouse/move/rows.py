"""Rows in one form for both databases, and sums of their hashes that do not depend on the order."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from sqlalchemy import JSON, Boolean, Column, LargeBinary, Table

from shared.data.database import UtcDateTime

_MODULUS = 1 << 128
_RFC_3339 = 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'
_LARGE_ROWS, _SMALL_ROWS = 20, 2_000  # fetched at once


@dataclass(slots=True)
class Sum:
    """How many rows there are, and the sum of their hashes."""

    rows: int = 0
    hashes: int = 0

    def add(self, rows: Iterable[Sequence[Any]]) -> None:
        total = self.hashes
        for row in rows:
            # The text of a tuple: neither order nor content of two different rows leads to the same one.
            text = repr(tuple(row)).encode("utf-8", "surrogatepass")
            total += int.from_bytes(blake2b(text, digest_size=16).digest(), "big")
            self.rows += 1
        self.hashes = total % _MODULUS

    @property
    def hexadecimal(self) -> str:
        return f"{self.hashes:032x}"


def quoted(name: str) -> str:
    return '"{}"'.format(name.replace('"', '""'))


def key_of(table: Table) -> list[str]:
    return [column.name for column in table.primary_key.columns]


def key_positions(table: Table) -> list[int]:
    names = [column.name for column in table.columns]
    return [names.index(name) for name in key_of(table)]


def rows_at_once(table: Table) -> int:
    """Return how many rows to hold in memory: those with binary content may have a megabyte each."""
    is_large = any(isinstance(column.type, LargeBinary) for column in table.columns)
    return _LARGE_ROWS if is_large else _SMALL_ROWS


def select_in_order(table: Table, *, after: bool, is_sqlite: bool) -> str:
    """Return the query for the rows in the order of their key, with placeholders for the last key if any."""
    columns = ", ".join(_read(column, is_sqlite=is_sqlite) for column in table.columns)
    key = ", ".join(f"{quoted(table.name)}.{quoted(name)}" for name in key_of(table))
    values = ", ".join(["?" if is_sqlite else "%s"] * len(key_of(table)))
    where = f" WHERE ({key}) > ({values})" if after else ""
    return f"SELECT {columns} FROM {quoted(table.name)}{where} ORDER BY {key}"  # noqa: S608 - quoted


def _read(column: Column[Any], *, is_sqlite: bool) -> str:
    """Return the expression for the value as SQLite stores it."""
    name = quoted(column.name)
    if is_sqlite:
        return name
    if isinstance(column.type, UtcDateTime):
        return f"to_char({name} AT TIME ZONE 'UTC', '{_RFC_3339}')"
    if isinstance(column.type, Boolean):
        return f"{name}::int"
    if isinstance(column.type, JSON):
        return f"{name}::text"
    return name
