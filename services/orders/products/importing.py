"""Imports of products from CSV (RFC 4180), row by row: a row with faults is skipped and reported.

A file is at most 4 MiB, so it is read into memory as it arrives; its rows are parsed and stored one batch at
a time. All rows are counted before the first one is stored.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from pydantic import BaseModel, ValidationError
from sqlalchemy import select
from sqlmodel import Session

from services.orders.errors import SkuTaken, TooManyRows
from services.orders.models import PRODUCTS
from services.orders.products import catalogue
from services.orders.products.schemas import CreateProduct, ImportOut, RowFault
from shared.data.bulk import one_of
from shared.data.database import Database
from shared.errors import FieldFault, Invalid, Problem
from shared.http.preconditions import IfMatch
from shared.lists.spreadsheets import FORMULA_BEGINS
from shared.words import words_of

BYTES_MAX = 4 * 1024 * 1024
ROWS_MAX = 10_000
BATCH_ROWS = 50  # per transaction, which on SQLite holds up other writers
FAULTS_MAX = 1_000
REQUIRED = ("sku", "name", "price")
COLUMNS = tuple(name for name in CreateProduct.model_fields if name != "attributes")
ANY_VERSION = IfMatch(None)


@dataclass(slots=True)
class Row:
    """One row of the file: the number of its first line, and its fields or what is wrong with it."""

    number: int
    fields: dict[str, Any] = field(default_factory=dict)
    faults: list[RowFault] = field(default_factory=list)


class Import:
    """One import of a file."""

    def __init__(self, content: bytes, *, dry_run: bool) -> None:
        self._dry_run = dry_run
        self._counts: Counter[str] = Counter()
        self._faults: list[RowFault] = []
        self._text = _decoded(content)
        self._seen: set[str] = set()

    def run(self, database: Database) -> ImportOut:
        rows_max = sum(1 for _ in islice(read_rows(self._text), ROWS_MAX + 1))
        if rows_max > ROWS_MAX:
            raise TooManyRows(rows_max=ROWS_MAX)
        rows = read_rows(self._text)
        while batch := list(islice(rows, BATCH_ROWS)):
            self._check_repeated(batch)
            with database.transaction(write=not self._dry_run) as session:
                self._store(session, [row for row in batch if not row.faults])
            self._note(batch)
        names = ("rows", "created", "changed", "unchanged", "invalid")
        counts = {name: self._counts[name] for name in names}
        return ImportOut(dry_run=self._dry_run, faults=self._faults, **counts)

    def _check_repeated(self, batch: Sequence[Row]) -> None:
        for row in batch:
            sku = row.fields.get("sku")
            if not row.faults and sku in self._seen:
                row.faults.append(_fault(row.number, "sku", "repeated", "is in an earlier row too"))
            elif sku is not None:
                self._seen.add(sku)

    def _store(self, session: Session, rows: Sequence[Row]) -> None:
        """Add or change the products of these rows, existing ones in the order of their ids."""
        skus = [row.fields["sku"] for row in rows]
        found = session.connection().execute(select(PRODUCTS).where(one_of(session, PRODUCTS.c.sku, skus)))
        known = {row["sku"]: dict(row) for row in found.mappings()}
        for row in sorted(rows, key=lambda row: known.get(row.fields["sku"], {}).get("id", "")):
            try:
                self._store_one(session, row, known.get(row.fields["sku"]))
            except SkuTaken:
                raise  # by a request at the same moment; the transaction is lost
            except Invalid as refused:
                row.faults += [_fault(row.number, **fault) for fault in refused.errors]
            except Problem as refused:
                row.faults.append(_fault(row.number, "row", refused.code, refused.detail))

    def _store_one(self, session: Session, row: Row, known: dict[str, Any] | None) -> None:
        if known is None:
            if not self._dry_run:
                catalogue.add(session, CreateProduct.model_validate(row.fields).model_dump())
            self._counts["created"] += 1
            return
        changes = catalogue.differences(known, row.fields)
        if changes and not self._dry_run:
            catalogue.change(session, known["id"], changes, ANY_VERSION)
        self._counts["changed" if changes else "unchanged"] += 1

    def _note(self, batch: Sequence[Row]) -> None:
        self._counts["rows"] += len(batch)
        for row in batch:
            self._counts["invalid"] += bool(row.faults)
            self._faults += row.faults[: FAULTS_MAX - len(self._faults)]


def read_rows(text: str) -> Iterator[Row]:
    """Parse the rows after the header lazily; empty ones are left out."""
    lines = io.StringIO(text, newline="")
    header = lines.readline()
    delimiter = max(",;\t", key=header.count)
    names = _header(header, delimiter)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        number = reader.line_num + 2
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Row(number, faults=[_fault(number, "row", "broken", f"is not CSV: {error}")])
            continue
        if cells:
            yield _row(number, names, cells)


def _header(line: str, delimiter: str) -> list[str]:
    """Return the names of the columns, or refuse the file."""
    try:
        cells = next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        raise _refused(f"its first line is not CSV: {error}") from error
    names = [cell.strip().lower() for cell in cells]
    unknown = [name for name in names if name not in COLUMNS]
    if unknown:
        raise _refused(f"has an unknown column {unknown[0][:50]!r}; columns are {', '.join(COLUMNS)}")
    if len(set(names)) < len(names):
        raise _refused("has a column twice")
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise _refused(f"its first line must name the columns {', '.join(REQUIRED)}")
    return names


def _row(number: int, names: Sequence[str], cells: Sequence[str]) -> Row:
    """Validate one row; an empty cell counts as missing."""
    if len(cells) != len(names):
        message = f"has {len(cells)} cells instead of {len(names)}"
        return Row(number, faults=[_fault(number, "row", "cells", message)])
    given = {name: cell.strip() for name, cell in zip(names, cells, strict=True) if cell.strip()}
    faults = [
        _fault(number, name, "formula", "begins like a formula of a spreadsheet")
        for name, cell in given.items()
        if cell.startswith(FORMULA_BEGINS)
    ]
    try:
        checked: BaseModel = CreateProduct.model_validate_strings(given)
    except ValidationError as error:
        wrong = {one.field for one in faults}
        faults += [
            _fault(number, str(one["loc"][0] if one["loc"] else "row"), one["type"], words_of(one))
            for one in error.errors(include_url=False, include_input=False)
            if not one["loc"] or one["loc"][0] not in wrong
        ]
    if faults:
        return Row(number, faults=faults)
    return Row(number, {name: getattr(checked, name) for name in given})


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused("is not UTF-8") from error


def _fault(row: int, field: str, code: str, message: str) -> RowFault:
    return RowFault(row=row, field=field, code=code, message=message)


def _refused(message: str) -> Invalid:
    return Invalid(errors=[FieldFault(field="body", code="csv", message=message)])
