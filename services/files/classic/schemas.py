"""The request and response bodies of the older form."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import PurePath
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from services.files.models import Visibility
from services.files.schemas import ChangeFile, Metadata
from shared.http.schemas import Input, Output, example
from shared.lists.numbered import ByNumber, Numbered

_FILE = {
    "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
    "user_id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
    "file_name": "0198c0de-5f00-7a10-8000-3f2b8c1de04a.pdf",
    "original_name": "report.pdf",
    "mime_type": "application/pdf",
    "size": 48213,
    "storage_type": "local",
    "visibility": "private",
    "metadata": {"project": "atlas"},
    "download_url": "https://api.example.com/api/v1/storage/files/0198c0de-5f00-7a10-8000-3f2b8c1de04a/download",
    "created_at": "2026-01-31T12:00:00Z",
    "updated_at": "2026-01-31T12:00:00Z",
}


class FilesByNumber(ByNumber):
    visibility: Visibility | None = Field(default=None, description="Only private or only public files.")


class ChangeOldFile(Input):
    """Either of these fields, or both."""

    model_config = example({"visibility": "public"})

    visibility: Visibility | None = Field(default=None, strict=False)
    metadata: Metadata | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.visibility is None and self.metadata is None:
            raise ValueError("give visibility or metadata")
        return self

    def native(self) -> ChangeFile:
        return ChangeFile(**self.model_dump(exclude_none=True))


class OldFile(Output):
    """A file; `file_name` is the id with the extension of `original_name`."""

    model_config = example(_FILE)

    id: str
    user_id: str
    file_name: str
    original_name: str
    mime_type: str
    size: int
    storage_type: Literal["local", "s3"]
    visibility: str
    metadata: dict[str, Any]
    download_url: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any], storage_type: str, download_url: str) -> Self:
        return cls.unchecked(
            row,
            file_name=row["id"] + PurePath(row["name"]).suffix,
            original_name=row["name"],
            storage_type=storage_type,
            metadata=json.loads(row["details"]),
            download_url=download_url,
            created_at=row["created"],
            updated_at=row["updated"],
        )


class NamedFile(Output):
    model_config = example({"file": _FILE})

    file: OldFile


class FilePage(Numbered):
    model_config = example({"files": [_FILE], "total": 1, "page": 1, "limit": 20, "total_pages": 1})

    files: list[OldFile]
