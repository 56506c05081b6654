"""Request and response schemas of workspace files."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from services.terminal.workspace.paths import PATH_BYTES_MAX
from services.terminal.workspace.tree import Entry
from shared.http.schemas import Id, Input, Output, Query, example

LIMIT_MAX = 1000
BATCH_ENTRIES_MAX = 20_000
EARLIEST, LATEST = 0.0, 253402300799.0  # years that a timestamp can express


class PathQuery(Query):
    path: str = Field(
        default="", max_length=PATH_BYTES_MAX, description="Relative to the workspace, such as src/main.py."
    )


class FolderQuery(PathQuery):
    depth: Literal["1", "all"] = "1"
    hidden: bool = Field(default=False, description="Include names that begin with a dot.")
    limit: int = Field(default=200, ge=1, le=LIMIT_MAX, description="Entries per page.")
    cursor: str | None = Field(
        default=None, max_length=400, description="Where the page starts; take it from `Link`."
    )


class ContentQuery(PathQuery):
    inline: bool = Field(default=False, description="Let a browser show plain text and images.")


class DeleteQuery(PathQuery):
    permanent: bool = Field(
        default=False, description="Remove it for good instead of moving it to the trash."
    )


class MakeFolder(Input):
    model_config = example({"path": "src/new"})

    path: str = Field(max_length=PATH_BYTES_MAX)


class MoveEntry(Input):
    model_config = example({"source": "draft.txt", "destination": "done/final.txt", "overwrite": False})

    source: str = Field(max_length=PATH_BYTES_MAX)
    destination: str = Field(max_length=PATH_BYTES_MAX)
    overwrite: bool = False


class EntryOut(Output):
    """A file, folder or link; `etag` changes with every write."""

    model_config = example(
        {
            "path": "src/main.py",
            "name": "main.py",
            "kind": "file",
            "size": 120,
            "modified": "2026-01-31T12:00:00Z",
            "etag": '"5f0c2b7a9d3e4f165f0c2b7a9d3e4f16"',
            "mode": "0644",
            "target": None,
            "is_exact": True,
        }
    )

    path: str
    name: str
    kind: Literal["file", "folder", "link", "other"]
    size: int
    modified: datetime
    etag: str
    mode: str
    target: str | None = Field(default=None, description="Where a link leads.")
    is_exact: bool = Field(default=True, description="False if the name is not UTF-8; use a terminal for it.")

    @classmethod
    def of(cls, entry: Entry) -> Self:
        values = {name: getattr(entry, name) for name in Entry.__slots__}
        moment = min(max(entry.modified, EARLIEST), LATEST)
        return cls.unchecked(values, modified=datetime.fromtimestamp(moment, UTC))


class UsageOut(Output):
    model_config = example({"bytes": 1048576, "entries": 240, "bytes_max": 5368709120, "entries_max": 200000})

    bytes: int
    entries: int
    bytes_max: int
    entries_max: int


class BatchEntry(Input):
    path: str = Field(min_length=1, max_length=PATH_BYTES_MAX)
    size: int = Field(ge=0, lt=2**53)


class MakeBatch(Input):
    model_config = example(
        {"destination": "project", "entries": [{"path": "src/main.py", "size": 120}], "overwrite": False}
    )

    destination: str = Field(default="", max_length=PATH_BYTES_MAX)
    entries: list[BatchEntry] = Field(min_length=1, max_length=BATCH_ENTRIES_MAX)
    overwrite: bool = False


class BatchOut(Output):
    model_config = example(
        {
            "id": "0192f0c1-4321-7abc-8def-0123456789ab",
            "entries": 13000,
            "bytes": 9000000,
            "missing": [[0, 12999]],
        }
    )

    id: Id
    entries: int
    bytes: int
    missing: list[Annotated[list[int], Field(min_length=2, max_length=2)]] = Field(
        description="Ranges of the numbers of entries, first and last, whose contents have not arrived."
    )


class SpanQuery(Query):
    first: int = Field(ge=0, description="The number of the first entry in the body; the manifest's is 0.")
    count: int = Field(default=1, ge=1, le=BATCH_ENTRIES_MAX)


class FinishedOut(Output):
    model_config = example({"files": 13000})

    files: int


class TrashOut(Output):
    model_config = example(
        {
            "id": "0192f0c1-4321-7abc-8def-0123456789ab",
            "path": "draft.txt",
            "kind": "file",
            "size": 120,
            "deleted": "2026-01-31T12:00:00Z",
            "until": "2026-02-07T12:00:00Z",
        }
    )

    id: Id
    path: str
    kind: str
    size: int
    deleted: datetime
    until: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        return cls.unchecked(row)
