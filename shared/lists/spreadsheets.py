"""Lines of CSV (RFC 4180) that a spreadsheet takes for data and for nothing else."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

# A spreadsheet takes a cell that begins with one of these for a formula, and runs it.
FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def csv_lines(rows: Iterable[Sequence[Any]]) -> bytes:
    """The rows as text; what would be a formula has a quote before it."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_MINIMAL)
    writer.writerows([_defused(value) for value in row] for row in rows)
    return text.getvalue().encode()


def _defused(value: Any) -> Any:
    is_formula = isinstance(value, str) and value.startswith(FORMULA_BEGINS)
    return f"'{value}" if is_formula else value
