"""XLSX workbooks of one sheet, made piece by piece, so that memory use does not depend on their size.

An XLSX file is a ZIP archive of XML. `zipfile` could stream it too, but no other process could continue the
stream. Here each piece is compressed by itself, and three numbers are all that the next piece needs. The
archive has no ZIP64 records, because Excel reports a file with unneeded ZIP64 records as damaged. Texts are
never formulas, because their cells are marked as text.
"""

import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any
from xml.sax.saxutils import escape

TEXT_CHARACTERS_MAX = 32_767  # per cell, as Excel defines
SHEET_BYTES_MAX = 2**32 - 2
LEVEL = 3  # of compression: a third of the time of the usual 6
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
_DOCUMENT = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
_SHEETS = "application/vnd.openxmlformats-officedocument.spreadsheetml"
MEDIA_TYPE = f"{_SHEETS}.sheet"
_PARTS = {
    "[Content_Types].xml": (
        f'<Types xmlns="{_TYPES}">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{_SHEETS}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_SHEETS}.worksheet+xml"/></Types>'
    ),
    "_rels/.rels": (
        f'<Relationships xmlns="{_RELATIONS}"><Relationship Id="rId1" Type="{_DOCUMENT}/officeDocument"'
        ' Target="xl/workbook.xml"/></Relationships>'
    ),
    "xl/workbook.xml": (
        f'<workbook xmlns="{_MAIN}" xmlns:r="{_DOCUMENT}"><sheets>'
        '<sheet name="Export" sheetId="1" r:id="rId1"/></sheets></workbook>'
    ),
    "xl/_rels/workbook.xml.rels": (
        f'<Relationships xmlns="{_RELATIONS}"><Relationship Id="rId1" Type="{_DOCUMENT}/worksheet"'
        ' Target="worksheets/sheet1.xml"/></Relationships>'
    ),
}
_HEADER = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
# XML 1.0 has no way to write these.
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


class WorkbookTooLarge(Exception):
    """A sheet has more than 4 GiB, which no spreadsheet could open either."""


class Workbook:
    """Returns the bytes of the file piece by piece: `rows` any number of times, then `end`.

    Another process can continue the file after these pieces, beginning with the `at` that this one reached.
    """

    def __init__(self, at: Sequence[int] = (0, 0, 0)) -> None:
        self._crc, self._size, self._packed_size = at

    @property
    def at(self) -> list[int]:
        """The check sum and the sizes of the sheet so far."""
        return [self._crc, self._size, self._packed_size]

    def rows(self, rows: Iterable[Sequence[Any]]) -> bytes:
        beginning = b""
        text = "".join(_row(row) for row in rows)
        if not self._size:
            beginning, text = _BEFORE, f'{_HEADER}<worksheet xmlns="{_MAIN}"><sheetData>{text}'
        return beginning + self._packed(text.encode())

    def end(self) -> bytes:
        piece = self.rows([]) + self._packed(b"</sheetData></worksheet>", zlib.Z_FINISH)
        sizes = (self._crc, self._packed_size, self._size)
        descriptor = struct.pack("<4s3I", b"PK\x07\x08", *sizes)
        entries = _ENTRIES + _entry(_SHEET, _SHEET_AT, _STREAMED, _DEFLATED, sizes)
        begins = len(_BEFORE) + self._packed_size + len(descriptor)
        number = len(_PARTS) + 1
        end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, number, number, len(entries), begins, 0)
        return piece + descriptor + entries + end

    def _packed(self, content: bytes, flush: int = zlib.Z_FULL_FLUSH) -> bytes:
        packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        packed = packer.compress(content) + packer.flush(flush)
        self._crc = zlib.crc32(content, self._crc)
        self._size += len(content)
        self._packed_size += len(packed)
        if self._size > SHEET_BYTES_MAX:
            raise WorkbookTooLarge
        return packed


def _entry(name: str, begins: int, flags: int, method: int, sizes: tuple[int, int, int]) -> bytes:
    """Return what the directory of the archive says of a file: its check sum, its sizes, where it begins."""
    stored = name.encode("ascii")
    head = (b"PK\x01\x02", _VERSION, _VERSION, flags, method, 0, _DATE, *sizes, len(stored), 0, 0, 0, 0, 0)
    return struct.pack("<4s6H3I5H2I", *head, begins) + stored


def _beginning(name: str, flags: int, method: int, sizes: tuple[int, int, int]) -> bytes:
    """Return what the archive has before the content of a file."""
    stored = name.encode("ascii")
    head = (b"PK\x03\x04", _VERSION, flags, method, 0, _DATE, *sizes, len(stored), 0)
    return struct.pack("<4s5H3I2H", *head) + stored


def _fixed() -> tuple[bytes, bytes]:
    """Return the small parts, which every workbook begins with, and their entries."""
    parts, entries = b"", b""
    for name, text in _PARTS.items():
        content = (_HEADER + text).encode()
        sizes = (zlib.crc32(content), len(content), len(content))
        entries += _entry(name, len(parts), 0, _STORED, sizes)
        parts += _beginning(name, 0, _STORED, sizes) + content
    return parts, entries


_STORED, _DEFLATED = 0, 8
_STREAMED = 0x8  # the sizes follow the content
_VERSION = 20
_DATE = 0x21  # 1980-01-01, so that the same rows are the same file
_SHEET = "xl/worksheets/sheet1.xml"
_FIRST, _ENTRIES = _fixed()
_SHEET_AT = len(_FIRST)
_BEFORE = _FIRST + _beginning(_SHEET, _STREAMED, _DEFLATED, (0, 0, 0))


def _row(values: Sequence[Any]) -> str:
    return f"<row>{''.join(_cells(values))}</row>"


def _cells(values: Sequence[Any]) -> Iterator[str]:
    for value in values:
        if value is None:
            yield "<c/>"
        elif isinstance(value, int | float | Decimal) and not isinstance(value, bool):
            yield f"<c><v>{value:f}</v></c>" if isinstance(value, Decimal) else f"<c><v>{value}</v></c>"
        else:
            text = escape(_UNWRITABLE.sub("", str(value))[:TEXT_CHARACTERS_MAX])
            yield f'<c t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'
