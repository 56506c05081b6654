"""Media types: from the first bytes of a file, then its name, and only then the sender's claim."""

import mimetypes
import re

SNIFFED_BYTES = 512
UNKNOWN = "application/octet-stream"
_WELL_FORMED = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,62}/[a-z0-9][a-z0-9!#$&^_.+-]{0,62}")
# Python's built-in table, because the system's table differs between servers. Entries of newer releases are
# added, so that the type of a file does not depend on the Python release either.
_BY_NAME = mimetypes.MimeTypes()
_OFFICE = "application/vnd.openxmlformats-officedocument."
_OPEN = "application/vnd.oasis.opendocument."
for _ending, _type in {
    ".md": "text/markdown",
    ".ics": "text/calendar",
    ".rtf": "application/rtf",
    ".epub": "application/epub+zip",
    ".7z": "application/x-7z-compressed",
    ".docx": f"{_OFFICE}wordprocessingml.document",
    ".xlsx": f"{_OFFICE}spreadsheetml.sheet",
    ".pptx": f"{_OFFICE}presentationml.presentation",
    ".odt": f"{_OPEN}text",
    ".ods": f"{_OPEN}spreadsheet",
    ".odp": f"{_OPEN}presentation",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}.items():
    _BY_NAME.add_type(_type, _ending)
# Matching holds the GIL, so catastrophic backtracking would block all requests. Therefore comments are
# matched possessively (`*+`), and no repetition is nested in another.
_SIGNATURES = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"BM.{12}[\x0c\x28\x38\x40\x6c\x7c]\x00\x00\x00", re.DOTALL), "image/bmp"),
    (re.compile(rb"%PDF-"), "application/pdf"),
    (re.compile(rb"\x1f\x8b\x08"), "application/gzip"),
    (re.compile(rb"OggS\x00"), "audio/ogg"),
    (re.compile(rb"fLaC"), "audio/flac"),
    (re.compile(rb"ID3"), "audio/mpeg"),
    (re.compile(rb"RIFF....WAVE", re.DOTALL), "audio/wav"),
    (re.compile(rb"\x1a\x45\xdf\xa3"), "video/webm"),
    (re.compile(rb"....ftyp", re.DOTALL), "video/mp4"),
    (re.compile(rb"\x7fELF"), "application/x-executable"),
    (re.compile(rb"MZ.{58}", re.DOTALL), "application/x-msdownload"),
    (
        re.compile(
            rb"(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*)*+<(?:!doctype\s+html|html|head|body|script|iframe)\b",
            re.IGNORECASE | re.DOTALL,
        ),
        "text/html",
    ),
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:[?!].*<)?svg\b", re.IGNORECASE | re.DOTALL), "image/svg+xml"),
)
_ZIP = b"PK\x03\x04"
# Types that a browser displays and that cannot execute anything: no HTML, SVG, XML or PDF.
_HARMLESS = re.compile(
    r"image/(?:png|jpeg|gif|bmp|webp|avif)|audio/[a-z0-9.+-]+|video/(?:mp4|webm|ogg)|text/plain"
)
# Types that downloads keep. All others are sent as octet-stream, even JSON, which a gateway might mistake for
# a response of the service and wrap in an envelope.
_TOLD = re.compile(
    rf"{_HARMLESS.pattern}|video/[a-z0-9.+-]+|font/[a-z0-9.+-]+|text/(?:csv|markdown|calendar)"
    r"|application/(?:pdf|zip|gzip|x-tar|x-7z-compressed|epub\+zip|rtf|msword|vnd\.[a-z0-9.-]+)"
)


def of(head: bytes, name: str, declared: str | None) -> str:
    """Return the media type of a file that begins with `head`."""
    for pattern, kind in _SIGNATURES:
        if pattern.match(head):
            return kind
    named = _BY_NAME.guess_type(f"file.{name.rpartition('.')[2]}", strict=True)[0] if "." in name else None
    if head.startswith(_ZIP):  # only the name tells a document, a book and an archive apart
        return named if named and not named.startswith(("image/", "audio/", "video/")) else "application/zip"
    if named is not None:
        return named
    claimed = (declared or "").partition(";")[0].strip().lower()
    return claimed if _WELL_FORMED.fullmatch(claimed) and _is_harmless(claimed) else UNKNOWN


def may_be_shown(mime_type: str) -> bool:
    """Whether a browser may display this type inline."""
    return _is_harmless(mime_type)


def sent_as(mime_type: str) -> str:
    """Return the Content-Type of a download."""
    if mime_type == "text/plain":
        return "text/plain; charset=utf-8"
    return mime_type if _TOLD.fullmatch(mime_type) else UNKNOWN


def _is_harmless(mime_type: str) -> bool:
    return _HARMLESS.fullmatch(mime_type) is not None
