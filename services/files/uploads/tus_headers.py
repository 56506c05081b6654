"""The headers and versions of tus 1.0, parsed strictly (https://tus.io/protocols/resumable-upload)."""

import base64
import functools
import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from typing import ParamSpec

from starlette.requests import Request
from starlette.responses import Response

from services.files.errors import BadUploadHeader, UnknownVersion
from services.files.storage.staging import Hash
from shared.errors import FieldFault, Problem, UnsupportedMediaType

P = ParamSpec("P")

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,expiration,checksum,termination,concatenation"
BYTES_TYPE = "application/offset+octet-stream"
METADATA_CHARACTERS_MAX = 8 * 1024
PARTS_MAX = 100
_KEY = re.compile(r"[!-+\--~]+")  # visible ASCII without the comma
_NUMBER = re.compile(r"\d{1,18}")
_UPLOAD_ID = re.compile(r"(?:^|/)([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/?$")
_HASHES: dict[str, Callable[[], Hash]] = {
    # SHA-1 and MD5 detect transmission errors here; they are not for security.
    "sha1": functools.partial(hashlib.sha1, usedforsecurity=False),
    "md5": functools.partial(hashlib.md5, usedforsecurity=False),
    "sha256": hashlib.sha256,
}
ALGORITHMS = ",".join(_HASHES)


@dataclass(frozen=True, slots=True)
class Checksum:
    """The expected checksum of the bytes of one request."""

    hash: Hash
    expected: bytes


def spoken(handler: Callable[P, Awaitable[Response]]) -> Callable[P, Awaitable[Response]]:
    """Refuse other versions first, and name ours in every response, including refusals."""

    @functools.wraps(handler)
    async def speaking(*args: P.args, **kwargs: P.kwargs) -> Response:
        request = kwargs["request"]
        assert isinstance(request, Request)
        try:
            if request.headers.get("tus-resumable") != VERSION:
                raise UnknownVersion(headers={"Tus-Version": VERSION})
            response = await handler(*args, **kwargs)
        except Problem as problem:
            problem.headers["Tus-Resumable"] = VERSION
            raise
        response.headers["Tus-Resumable"] = VERSION
        return response

    return speaking


def number(request: Request, name: str) -> int:
    """Return a required header with a number."""
    value = request.headers.get(name, "")
    if not _NUMBER.fullmatch(value):
        raise wrong(name, "must be given, as a number of bytes")
    return int(value)


def require_bytes(request: Request) -> None:
    if request.headers.get("content-type") != BYTES_TYPE:
        fault = FieldFault(field="Content-Type", code="wrong", message=f"must be {BYTES_TYPE}")
        raise UnsupportedMediaType("A chunk of an upload needs its own content type.", errors=[fault])


def metadata(header: str) -> dict[str, str]:
    """Return the pairs of Upload-Metadata: unique ASCII keys, values in base64."""
    pairs: dict[str, str] = {}
    if len(header) > METADATA_CHARACTERS_MAX:
        raise wrong("Upload-Metadata", f"must be at most {METADATA_CHARACTERS_MAX} characters")
    for pair in filter(None, (one.strip() for one in header.split(","))):
        key, _, value = pair.partition(" ")
        if not _KEY.fullmatch(key) or key in pairs:
            raise wrong("Upload-Metadata", "must be pairs of a unique key and a value in base64")
        try:
            pairs[key] = base64.b64decode(value, validate=True).decode()
        except ValueError as error:
            raise wrong("Upload-Metadata", f"{key}: must be text in base64") from error
    return pairs


def checksum(header: str | None) -> Checksum | None:
    if header is None:
        return None
    algorithm, _, value = header.partition(" ")
    if algorithm not in _HASHES:
        raise wrong("Upload-Checksum", f"must begin with one of {ALGORITHMS}")
    try:
        return Checksum(_HASHES[algorithm](), base64.b64decode(value, validate=True))
    except ValueError as error:
        raise wrong("Upload-Checksum", "must end with the checksum in base64") from error


def parts(header: str) -> list[str]:
    """Return the ids of the uploads to concatenate; their URLs may have any prefix."""
    found = [_UPLOAD_ID.search(address) for address in header.partition(";")[2].split()]
    ids = [match.group(1) for match in found if match is not None]
    if not header.startswith("final;") or len(ids) != len(found) or not 1 <= len(ids) <= PARTS_MAX:
        raise wrong("Upload-Concat", f"must be `partial`, or `final;` and 1 to {PARTS_MAX} URLs of uploads")
    if len(set(ids)) != len(ids):
        raise wrong("Upload-Concat", "must name every upload once")
    return ids


def date(time: datetime) -> str:
    return format_datetime(time, usegmt=True)


def wrong(header: str, message: str) -> BadUploadHeader:
    return BadUploadHeader(
        f"{header} {message}.", errors=[FieldFault(field=header, code="wrong", message=message)]
    )
