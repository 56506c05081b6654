"""XLSX workbooks of one sheet, streamed row by row, so that memory use does not depend on their size.

An XLSX file is a ZIP archive of XML. `zipfile` can write to something that cannot seek, so nothing is kept on
disk either. Texts are never formulas, as their cells say that they are text.
"""

import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import IO, Any, cast
from xml.sax.saxutils import escape

TEXT_CHARACTERS_MAX = 32_767  # per cell, as Excel defines
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


class Workbook:
    """Returns the bytes of the file piece by piece: `rows` any number of times, then `end`."""

    def __init__(self) -> None:
        self._pipe = _Pipe()
        written_to = cast(IO[bytes], self._pipe)  # it needs no more of a file than `write` and `flush`
        self._zip = zipfile.ZipFile(written_to, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL)
        for name, text in _PARTS.items():
            self._zip.writestr(name, _HEADER + text)
        self._sheet = self._zip.open("xl/worksheets/sheet1.xml", "w", force_zip64=True)
        self._sheet.write(f'{_HEADER}<worksheet xmlns="{_MAIN}"><sheetData>'.encode())

    def rows(self, rows: Iterable[Sequence[Any]]) -> bytes:
        self._sheet.write("".join(_row(row) for row in rows).encode())
        return self._pipe.taken()

    def end(self) -> bytes:
        self._sheet.write(b"</sheetData></worksheet>")
        self._sheet.close()
        self._zip.close()
        return self._pipe.taken()


class _Pipe:
    """What `zipfile` writes to."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: the pieces stay until they are taken."""

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


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
