"""Paths in a workspace, as clients send them."""

import unicodedata

from services.terminal.errors import BadPath
from shared.errors import FieldFault

PATH_BYTES_MAX = 4096
NAME_BYTES_MAX = 255
DEPTH_MAX = 100

Parts = tuple[str, ...]


def parts_of(path: str, field: str = "path", *, root: bool = False) -> Parts:
    """Split a path; slashes at both ends are optional. Only with `root` may it be the workspace itself."""
    fault = None
    parts = tuple(path.strip("/").split("/")) if path.strip("/") else ()
    if "\0" in path or any(0xD800 <= ord(one) <= 0xDFFF for one in path):
        fault = "must be text without NUL"
    elif len(path.encode()) > PATH_BYTES_MAX or len(parts) > DEPTH_MAX:
        fault = f"must be at most {PATH_BYTES_MAX} bytes and {DEPTH_MAX} folders deep"
    elif any(part in ("", ".", "..") for part in parts):
        fault = "must not contain empty parts, `.` or `..`"
    elif any(len(part.encode()) > NAME_BYTES_MAX for part in parts):
        fault = f"must not contain a name of more than {NAME_BYTES_MAX} bytes"
    elif not parts and not root:
        fault = "must not be the workspace itself"
    if fault:
        raise BadPath(errors=[FieldFault(field=field, code="bad_path", message=fault)])
    return parts


def composed(parts: Parts) -> Parts:
    """Return the names in composed form (NFC), which new files get, whatever system the client runs on."""
    return tuple(unicodedata.normalize("NFC", part) for part in parts)


def joined(*parts: str) -> str:
    return "/".join(parts)


def shown(name: str) -> tuple[str, bool]:
    """Return a name as text, and whether that is exact: names that are not UTF-8 can only be read."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"), False
    return name, True
