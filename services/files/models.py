"""Files, the blobs with their content, and the usage of each account."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Index
from sqlalchemy.orm import registry
from sqlmodel import BigInteger, Field, SQLModel, Text

from shared.clock import now
from shared.data.database import UtcDateTime, rows_where
from shared.data.tables import NOT_VALIDATED, table_of
from shared.events import EventTables
from shared.ids import new_id
from shared.lists.search import Part, SearchIndex
from shared.work.leased import WorkTable

ID_CHARACTERS = 36
KEY_CHARACTERS = 32
_KEPT, _IN_TRASH = "trashed IS NULL", "trashed IS NOT NULL"


class Visibility(StrEnum):
    PRIVATE = "private"
    PUBLIC = "public"


class FileState(StrEnum):
    READY = "ready"
    SCANNING = "scanning"  # not served until the scan found it clean
    INFECTED = "infected"  # never served; `threat` names the finding
    LOST = "lost"  # the storage no longer has the content


class BlobState(StrEnum):
    ARRIVING = "arriving"  # bytes may be arriving; nothing else touches them before the time `until`
    KEPT = "kept"  # belongs to a file
    DOOMED = "doomed"  # belongs to no file; its bytes will be removed


class Table(SQLModel, registry=registry()):
    """The base of this service's tables, with its own metadata."""

    model_config = NOT_VALIDATED


class Blob(Table, table=True):
    """The row of a blob, written before its first byte.

    A process may therefore die at any point: its leftovers are found by their rows.
    """

    __tablename__ = "blobs"
    __table_args__ = (
        Index("ix_blobs_state_until", "state", "until"),
        Index("ix_blobs_user_id", "user_id"),
    )

    key: str = Field(primary_key=True, max_length=KEY_CHARACTERS)
    user_id: str = Field(max_length=ID_CHARACTERS)
    reserved: int = Field(sa_type=BigInteger)
    state: str = Field(default=BlobState.ARRIVING, max_length=10)
    until: datetime | None = Field(default=None, sa_type=UtcDateTime)


class File(Table, table=True):
    __tablename__ = "files"
    __table_args__ = (
        Index("ix_files_user_id_visibility_id", "user_id", "visibility", "id", **rows_where(_KEPT)),
        Index("ix_files_visibility_id", "visibility", "id", **rows_where(_KEPT)),
        Index(
            "ix_files_user_id_visibility_name_id", "user_id", "visibility", "name", "id", **rows_where(_KEPT)
        ),
        Index("ix_files_visibility_name_id", "visibility", "name", "id", **rows_where(_KEPT)),
        Index("ix_files_trash_user_id_id", "user_id", "id", **rows_where(_IN_TRASH)),
        Index("ix_files_trashed", "trashed", **rows_where(_IN_TRASH)),
        Index("ix_files_state_id", "state", "id"),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    user_id: str = Field(max_length=ID_CHARACTERS)
    name: str = Field(max_length=255)
    folded_name: str = Field(max_length=765)  # for searches; case folding can turn one letter into three
    mime_type: str = Field(max_length=127)
    size: int = Field(sa_type=BigInteger)
    sha256: str = Field(max_length=64)
    visibility: str = Field(default=Visibility.PRIVATE, max_length=10)
    details: str = Field(default="{}", sa_type=Text)  # `metadata` in the API; SQLModel reserves that name
    state: str = Field(default=FileState.READY, max_length=10)
    threat: str | None = Field(default=None, max_length=255)
    blob_key: str = Field(foreign_key="blobs.key", unique=True, max_length=KEY_CHARACTERS)
    version: int = 1
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    updated: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    trashed: datetime | None = Field(default=None, sa_type=UtcDateTime)

    def touch(self) -> None:
        self.version += 1
        self.updated = now()


class Usage(Table, table=True):
    """The usage of one account: bytes and files, including the trash, and quota reserved for uploads."""

    __tablename__ = "usage"

    user_id: str = Field(primary_key=True, max_length=ID_CHARACTERS)
    used: int = Field(default=0, sa_type=BigInteger)
    reserved: int = Field(default=0, sa_type=BigInteger)
    files: int = 0


class Upload(Table, table=True):
    """A resumable upload, or a part of one. Kept after completion: a client may have missed the response."""

    __tablename__ = "uploads"
    __table_args__ = (Index("ix_uploads_user_id_id", "user_id", "id"), Index("ix_uploads_expires", "expires"))

    id: str = Field(primary_key=True, max_length=ID_CHARACTERS)
    user_id: str = Field(max_length=ID_CHARACTERS)
    blob_key: str = Field(max_length=KEY_CHARACTERS)
    length: int = Field(sa_type=BigInteger)
    received: int = Field(default=0, sa_type=BigInteger)  # the durable offset
    metadata_header: str = Field(default="", sa_type=Text)
    concat: str | None = Field(default=None, sa_type=Text)  # the header: `partial`, or `final;` and its parts
    file_id: str | None = Field(default=None, max_length=ID_CHARACTERS, index=True)
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    expires: datetime = Field(sa_type=UtcDateTime)

    @property
    def is_partial(self) -> bool:
        return self.concat == "partial"

    @property
    def is_final(self) -> bool:
        return self.concat is not None and not self.is_partial

    @property
    def is_whole(self) -> bool:
        return self.received == self.length


class Share(Table, table=True):
    """A link to a file. Only the hash of its token is stored."""

    __tablename__ = "shares"

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    file_id: str = Field(foreign_key="files.id", ondelete="CASCADE", index=True, max_length=ID_CHARACTERS)
    token_hash: str = Field(max_length=64)
    downloads_max: int | None = None
    downloads: int = 0
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    expires: datetime = Field(sa_type=UtcDateTime)


EVENTS = EventTables(Table.metadata)
WORK = WorkTable(Table.metadata)
FILES = table_of(File)
SEARCH = SearchIndex(
    FILES,
    {"user_id": Part.END, "visibility": Part.START, "mime_type": Part.ALL, "folded_name": Part.ALL},
)
BLOBS = table_of(Blob)
SHARES = table_of(Share)
UPLOADS = table_of(Upload)
USAGE = table_of(Usage)
