"""Reads PDFs: their text, their metadata, and whether they keep what PDF/A-2a and PDF/UA-1 promise."""

import re
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pikepdf

_HEX = re.compile(rb"<([0-9A-Fa-f]+)>")
_SECTION = re.compile(rb"begin(bfchar|bfrange)(.*?)end(?:bfchar|bfrange)", re.DOTALL)


def text_of(pdf: bytes) -> str:
    """Return the text of all pages, in the order in which it is drawn."""
    with pikepdf.open(BytesIO(pdf)) as document:
        return "\n".join(_text_of_page(page) for page in document.pages)


def pages_of(pdf: bytes) -> list[str]:
    with pikepdf.open(BytesIO(pdf)) as document:
        return [_text_of_page(page) for page in document.pages]


def archive_faults(pdf: bytes, *, title: str, language: str = "en") -> list[str]:
    """List what an archive or a screen reader would miss."""
    with pikepdf.open(BytesIO(pdf)) as document:
        root: Any = document.Root
        xmp = root.Metadata.read_bytes().decode()
        wanted = {
            "marked": bool(root.MarkInfo.Marked),
            "tagged": "/StructTreeRoot" in root and "/K" in root.StructTreeRoot,
            "language": str(root.Lang) == language,
            "shows its title": bool(root.ViewerPreferences.DisplayDocTitle),
            "title": title in xmp and str(document.docinfo.Title) == title,
            "PDF/A part 2": re.search(r"pdfaid:part\W{1,2}2\b", xmp) is not None,
            "PDF/A conformance A": re.search(r"pdfaid:conformance\W{1,2}A\b", xmp) is not None,
            "PDF/UA part 1": re.search(r"pdfuaid:part\W{1,2}1\b", xmp) is not None,
            "output intent": "/OutputIntents" in root,
            "fonts embedded": all(_is_embedded(font) for font in _fonts(document)),
            "has fonts": any(True for _ in _fonts(document)),
            "no scripts": not {"/OpenAction", "/AA", "/JavaScript"} & set(root.keys()),
        }
        faults = [name for name, is_kept in wanted.items() if not is_kept]
        return [*faults, *document.check_pdf_syntax()]


def tags_of(pdf: bytes) -> set[str]:
    """Return the kinds of structure elements, such as `Table` and `TH`."""
    with pikepdf.open(BytesIO(pdf)) as document:
        found: Any = document.objects
        return {
            str(one.S).lstrip("/")
            for one in found
            if isinstance(one, pikepdf.Dictionary) and "/S" in one and one.get("/Type") == "/StructElem"
        }


def created(pdf: bytes) -> str:
    with pikepdf.open(BytesIO(pdf)) as document:
        return str(document.docinfo.CreationDate)


def _fonts(document: pikepdf.Pdf) -> Iterator[Any]:
    for page in document.pages:
        resources: Any = page.obj.Resources
        yield from dict(resources.get("/Font", {})).values()


def _is_embedded(font: Any) -> bool:
    (descendant,) = font.get("/DescendantFonts", [font])
    descriptor = descendant.FontDescriptor
    return "/ToUnicode" in font and any(f"/FontFile{kind}" in descriptor for kind in ("", "2", "3"))


def _text_of_page(page: pikepdf.Page) -> str:
    fonts: Any = page.obj.Resources.get("/Font", {})
    maps = {name: _characters(font.ToUnicode.read_bytes()) for name, font in dict(fonts).items()}
    text, current = "", dict[bytes, str]()
    for instruction in pikepdf.parse_content_stream(page):
        operands, operator = instruction.operands, instruction.operator
        if str(operator) == "Tf":
            current = maps[str(operands[0])]
        elif str(operator) in ("Tj", "TJ"):
            shown = operands[0] if str(operator) == "TJ" else operands
            text += "".join(_decoded(bytes(one), current) for one in shown if isinstance(one, pikepdf.String))
        elif str(operator) == "ET":
            text += "\n"
    return text


def _decoded(content: bytes, characters: dict[bytes, str]) -> str:
    return "".join(characters[content[at : at + 2]] for at in range(0, len(content), 2))


def _characters(cmap: bytes) -> dict[bytes, str]:
    """Read the mapping from the two bytes of a glyph to its characters."""
    found: dict[bytes, str] = {}
    for kind, content in _SECTION.findall(cmap):
        codes = [bytes.fromhex(one.decode()) for one in _HEX.findall(content)]
        if kind == b"bfchar":
            found.update(
                {code: text.decode("utf-16-be") for code, text in zip(codes[::2], codes[1::2], strict=True)}
            )
            continue
        for first, last, text in zip(codes[::3], codes[1::3], codes[2::3], strict=True):
            for number in range(int.from_bytes(first), int.from_bytes(last) + 1):
                moved = int.from_bytes(text) + number - int.from_bytes(first)
                found[number.to_bytes(2)] = moved.to_bytes(len(text)).decode("utf-16-be")
    return found
