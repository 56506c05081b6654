"""XLSX workbooks: readable XML with the same rows, made in pieces."""

import io
import tracemalloc
import zipfile
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from shared.lists import workbooks
from shared.lists.workbooks import Workbook, WorkbookTooLarge

MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def read(content: bytes) -> list[list[Any]]:
    """Return the cells of the sheet: numbers as text behind `n:`, texts as they are, empty ones as None."""
    with zipfile.ZipFile(io.BytesIO(content)) as book:
        assert book.testzip() is None
        for name in book.namelist():
            ET.fromstring(book.read(name))
        sheet = ET.fromstring(book.read("xl/worksheets/sheet1.xml"))
    return [[_value(cell) for cell in row.iter(f"{MAIN}c")] for row in sheet.iter(f"{MAIN}row")]


def _value(cell: ET.Element) -> str | None:
    if cell.get("t") == "inlineStr":
        return "".join(cell.itertext())
    number = cell.find(f"{MAIN}v")
    return None if number is None else f"n:{number.text}"


def test_numbers_keep_all_digits_and_texts_are_never_formulas() -> None:
    book = Workbook()
    content = book.rows([["a", "b"]])
    content += book.rows([[1, Decimal("12.0101516483")], ["=1+1", None], ["<&>\"' \n", "ünï \U0001f600"]])
    content += book.end()

    assert read(content) == [
        ["a", "b"],
        ["n:1", "n:12.0101516483"],
        ["=1+1", None],
        ["<&>\"' \n", "ünï \U0001f600"],
    ]


def test_file_continued_after_each_piece_is_the_same() -> None:
    rows = [[number, f"text of row {number}"] for number in range(50)]
    whole, book = b"", Workbook()
    for start in range(0, 50, 10):
        whole += book.rows(rows[start : start + 10])
    whole += book.end()
    at, continued = [0, 0, 0], b""
    for start in range(0, 50, 10):
        book = Workbook(at)
        continued += book.rows(rows[start : start + 10])
        at = book.at
    continued += Workbook(at).end()

    assert continued == whole
    assert read(whole) == [[f"n:{number}", text] for number, text in rows]
    assert all(not entry.extra for entry in zipfile.ZipFile(io.BytesIO(whole)).infolist()), "no ZIP64"


def test_sheet_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbooks, "SHEET_BYTES_MAX", 1_000)
    with pytest.raises(WorkbookTooLarge):
        Workbook().rows([["x" * 1_000]])


def test_characters_that_xml_cannot_hold_are_left_out_and_long_texts_cut() -> None:
    book = Workbook()
    content = book.rows([["a\x00\x0b\ud800\uffffb", "x" * 40_000]]) + book.end()

    assert read(content) == [["ab", "x" * 32_767]]


def test_small_decimals_are_written_without_an_exponent() -> None:
    book = Workbook()
    content = book.rows([[Decimal("1E-10"), True]]) + book.end()

    assert read(content) == [["n:0.0000000001", "True"]]


def test_memory_use_does_not_depend_on_the_number_of_rows() -> None:
    row = ["ws-000000001", 12, "text of some length"] * 8

    def peak(pages: int) -> int:
        book, size = Workbook(), 0
        tracemalloc.start()
        try:
            for _ in range(pages):
                size += len(book.rows([row] * 20))
            size += len(book.end())
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)
    assert peak(40) < 2 * peak(4)
