"""CSV (RFC 4180) rows that a spreadsheet treats as plain data, never as formulas."""

import csv
import io
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

# Spreadsheets run a cell that begins with one of these as a formula.
FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def csv_lines(rows: Iterable[Sequence[Any]]) -> bytes:
    """Return the rows as CSV; texts that look like formulas get a leading apostrophe, but numbers do not."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_MINIMAL)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"  # without an exponent
    is_formula = isinstance(value, str) and value.startswith(FORMULA_BEGINS)
    return f"'{value}" if is_formula else value
