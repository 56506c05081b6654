"""Input and output models of the files service."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    JsonValue,
    TypeAdapter,
    model_validator,
)

from services.files.models import Visibility
from services.files.names import fault_of, good_name
from shared.http.schemas import Input, Output, Query, Versioned, example
from shared.lists.pagination import PageQuery
from shared.lists.times import Time
from shared.words import pattern

METADATA_BYTES_MAX = 4096
_DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"  # example value
SHARE_HOURS_MAX = 24 * 365


def _named(name: str) -> str:
    fault = fault_of(name)
    if fault:
        raise ValueError(fault)
    return good_name(name)


def _small(metadata: dict[str, Any]) -> dict[str, Any]:
    if len(dumped(metadata)) > METADATA_BYTES_MAX:
        raise ValueError(f"must be at most {METADATA_BYTES_MAX} bytes of JSON")
    return metadata


def dumped(metadata: Mapping[str, Any]) -> str:
    """Return the stored form: ASCII, because PostgreSQL text cannot hold every character of JSON."""
    return json.dumps(metadata, separators=(",", ":"), allow_nan=False)


FileName = Annotated[str, Field(max_length=1024), AfterValidator(_named)]
Metadata = Annotated[dict[str, JsonValue], AfterValidator(_small)]
METADATA = TypeAdapter[dict[str, Any]](Metadata)
VISIBILITY = TypeAdapter(Visibility)


class UploadForm(BaseModel):
    """A form with the file and its optional description."""

    file: bytes
    visibility: Visibility = Visibility.PRIVATE
    metadata: str = Field(
        default="{}", description="A JSON object of at most 4096 bytes.", examples=['{"project": "atlas"}']
    )


class ChangeFile(Input):
    """Any of the fields that the owner may change."""

    model_config = example(
        {
            "name": "report-2026.pdf",
            "visibility": "public",
        }
    )

    name: FileName | None = None
    visibility: Visibility | None = Field(default=None, strict=False)
    metadata: Metadata | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set or None in (getattr(self, name) for name in self.model_fields_set):
            raise ValueError("give at least one field to change, and no nulls")
        return self


class ListFiles(PageQuery):
    name: str | None = Field(default=None, max_length=255, description="Only files with exactly this name.")
    search: str | None = Field(
        default=None,
        min_length=1,
        max_length=255,
        description="Only files with this text in their name. For one or two characters, a page may be short "
        "or empty and still have a next one.",
    )
    type: str | None = Field(
        default=None,
        max_length=127,
        pattern=pattern(
            r"^[a-z0-9!#$&^_.+-]+/([a-z0-9!#$&^_.+-]+|\*)?$",
            "must be a media type in lower case, for example image/png or image/*",
        ),
        description="Only files of this media type, such as `image/png` or `image/*`.",
    )
    visibility: Visibility | None = Field(default=None, description="Only private or only public files.")
    created_from: Time | None = Field(default=None, description="Only files created at this time or later.")
    created_before: Time | None = Field(default=None, description="Only files created before this time.")


class Download(Query):
    inline: bool = Field(
        default=False, description="Display the content in the browser if its type is harmless."
    )


class FileOut(Versioned):
    model_config = example(
        {
            "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "user_id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "name": "report.pdf",
            "size": 48213,
            "mime_type": "application/pdf",
            "created": "2026-01-31T12:00:00Z",
            "updated": "2026-01-31T12:00:00Z",
            "sha256": _DIGEST,
            "visibility": "private",
            "state": "ready",
            "threat": None,
            "metadata": {"project": "atlas"},
            "version": 1,
        }
    )

    id: str
    user_id: str
    name: str
    size: int
    mime_type: str
    created: datetime
    updated: datetime
    sha256: str
    visibility: str
    state: str
    threat: str | None
    metadata: dict[str, Any]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Build from the columns of a row."""
        details = row["details"]
        return cls.unchecked({**row, "metadata": {} if details == "{}" else json.loads(details)})


class TrashedOut(FileOut):
    model_config = example(
        {
            "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "user_id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "name": "report.pdf",
            "size": 48213,
            "mime_type": "application/pdf",
            "created": "2026-01-31T12:00:00Z",
            "updated": "2026-01-31T12:00:00Z",
            "sha256": _DIGEST,
            "visibility": "private",
            "state": "ready",
            "threat": None,
            "metadata": {"project": "atlas"},
            "version": 1,
            "trashed": "2026-01-31T12:00:00Z",
        }
    )

    trashed: datetime


class UploadOut(Output):
    """A resumable upload; `file_id` is set once it is complete."""

    model_config = example(
        {
            "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "length": 48213,
            "received": 16384,
            "file_id": None,
            "created": "2026-01-31T12:00:00Z",
            "expires": "2026-02-01T12:00:00Z",
        }
    )

    id: str
    length: int
    received: int
    file_id: str | None
    created: datetime
    expires: datetime


class MakeShare(Input):
    """How long a link works, and for how many downloads at most."""

    model_config = example(
        {
            "hours": 24,
            "downloads_max": 5,
        }
    )

    hours: float = Field(default=24.0, gt=0, le=SHARE_HOURS_MAX, strict=False)
    downloads_max: int | None = Field(default=None, ge=1, le=1_000_000)


class ShareQuery(Query):
    token: str = Field(max_length=100, description="The secret of the link.")


class ShareOut(Output):
    model_config = example(
        {
            "id": "0198c0de-7a00-7b22-8000-1c2d3e4f5a6b",
            "file_id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "downloads_max": 5,
            "downloads": 0,
            "created": "2026-01-31T12:00:00Z",
            "expires": "2026-02-01T12:00:00Z",
        }
    )

    id: str
    file_id: str
    downloads_max: int | None
    downloads: int
    created: datetime
    expires: datetime


class MadeShareOut(ShareOut):
    """A new link; `url` is shown only once."""

    model_config = example(
        {
            "id": "0198c0de-7a00-7b22-8000-1c2d3e4f5a6b",
            "file_id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "downloads_max": 5,
            "downloads": 0,
            "created": "2026-01-31T12:00:00Z",
            "expires": "2026-02-01T12:00:00Z",
            "url": "https://api.example.com/files/shared/0198c0de-7a00-7b22-8000-1c2d3e4f5a6b?token=vT3v",
        }
    )

    url: str


class UsageOut(Output):
    """Your usage and quota, in bytes and files."""

    model_config = example(
        {
            "used": 48213,
            "reserved": 0,
            "limit": 1073741824,
            "files": 1,
            "files_limit": 100000,
        }
    )

    used: int
    reserved: int
    limit: int
    files: int
    files_limit: int
