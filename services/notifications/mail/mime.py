"""Writes the parts of a mail as bytes (RFC 5322, 2045 and 2046), with CRLF.

The standard library's EmailMessage parses every header that it is given, and each part again, which takes
longer than all else that is done for a mail. Here it folds only headers that contain words of people.
"""

import binascii
import re
from base64 import encodebytes
from collections.abc import Sequence
from email.headerregistry import Address, HeaderRegistry
from email.policy import SMTP, SMTPUTF8
from functools import lru_cache

EOL = b"\r\n"
LINE_BYTES_MAX = 900  # SMTP allows 998
_SIMPLE = re.compile(r"[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*@[a-z0-9.-]+")
_SIMPLE_CHARACTERS_MAX = 70  # shorter than a line
_KEPT = 200
_HEADERS = HeaderRegistry()


def plain(name: str, value: str) -> bytes:
    """Return a header that contains no words of people, and stays on one line."""
    return f"{name}: {value}\r\n".encode("ascii")


@lru_cache(_KEPT)
def words(name: str, value: str, *, is_utf8: bool) -> bytes:
    """Return a header that contains words of people, encoded and folded."""
    return _folded(name, value, is_utf8=is_utf8)


@lru_cache(_KEPT)
def address(name: str, display: str, local: str, domain: str, *, is_utf8: bool) -> bytes:
    """Return a header that contains an address."""
    bare = f"{local}@{domain}"
    if not display and len(bare) <= _SIMPLE_CHARACTERS_MAX and _SIMPLE.fullmatch(bare):
        return plain(name, bare)
    return _folded(name, Address(display, local, domain), is_utf8=is_utf8)


def _folded(name: str, value: str | Address, *, is_utf8: bool) -> bytes:
    folded: bytes = (SMTPUTF8 if is_utf8 else SMTP).fold_binary(name, _HEADERS(name, value))
    return folded


def text_part(text: str, subtype: str, *, is_plain_kept: bool = False) -> bytes:
    """Return a part of text. With `is_plain_kept` it stays as it is if possible, so that links stay whole."""
    body = EOL.join(text.encode().splitlines()) + EOL
    is_kept = is_plain_kept and text.isascii() and max(map(len, body.split(EOL))) <= LINE_BYTES_MAX
    head = plain("Content-Type", f'text/{subtype}; charset="utf-8"')
    head += plain("Content-Transfer-Encoding", "7bit" if is_kept else "quoted-printable")
    return head + EOL + (body if is_kept else binascii.b2a_qp(body))


def pdf_part(file_name: str, content: bytes) -> bytes:
    """Return a part with a PDF to save."""
    head = plain("Content-Type", "application/pdf") + plain("Content-Transfer-Encoding", "base64")
    head += plain("Content-Disposition", f'attachment; filename="{file_name}"')
    return head + EOL + encodebytes(content).replace(b"\n", EOL)


def multipart(subtype: str, boundary: str, parts: Sequence[bytes]) -> bytes:
    """Return a part that contains others."""
    between = f"--{boundary}".encode("ascii")
    head = f'Content-Type: multipart/{subtype};\r\n boundary="{boundary}"\r\n\r\n'.encode("ascii")
    return head + b"".join(between + EOL + one + EOL for one in parts) + between + b"--" + EOL
