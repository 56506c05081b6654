"""Names of files: which are valid, and how searches compare them.

A name is never a path here: blobs are stored under random keys, and the name is a column.
"""

import re
import unicodedata

from services.files.errors import BadName
from shared.errors import FieldFault

NAME_BYTES_MAX = 255
# Controls, surrogates, line and paragraph separators, and bidirectional controls: `exe.fdp` must not be shown
# as a PDF.
_BAD_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
_TURNS_TEXT = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")


def good_name(name: str) -> str:
    """Return the name in composed form, or raise a refusal that says what is wrong with it."""
    fault = fault_of(name)
    if fault:
        raise BadName(errors=[FieldFault(field="name", code="bad_name", message=fault)])
    return unicodedata.normalize("NFC", name.strip(" "))


def fault_of(name: str) -> str | None:
    composed = unicodedata.normalize("NFC", name.strip(" "))
    if composed in ("", ".", ".."):
        return "must be given, and must not be only dots"
    if "/" in composed or "\\" in composed:
        return "must be a name and not a path: no / and no \\"
    if any(unicodedata.category(one) in _BAD_CATEGORIES or one in _TURNS_TEXT for one in composed):
        return "must not contain control characters, line breaks, or characters that reverse text"
    if len(composed.encode()) > NAME_BYTES_MAX:
        return f"must be at most {NAME_BYTES_MAX} bytes in UTF-8"
    return None


def last_part(path: str) -> str:
    """Return the file name in a path: some clients send a whole Windows or Unix path."""
    return re.split(r"[/\\]", path)[-1]


def folded(name: str) -> str:
    """Return the form of a text that searches compare."""
    return unicodedata.normalize("NFC", name.casefold())
