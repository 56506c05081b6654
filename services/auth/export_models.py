"""Exports of all data about a person, and the pieces that the services have sent."""

from datetime import datetime

from sqlalchemy import Index, Text
from sqlmodel import Field

from services.auth.tables import ID_CHARACTERS, Table
from shared.clock import now
from shared.data.database import UtcDateTime, rows_where
from shared.ids import new_id


class Export(Table, table=True):
    """An export. `finished` is None while services are still sending their parts."""

    __tablename__ = "exports"
    __table_args__ = (
        Index("ix_exports_account_id_id", "account_id", "id"),
        Index("ix_exports_expires", "expires"),
        Index("ix_exports_unfinished", "created", **rows_where("finished IS NULL")),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    account_id: str = Field(foreign_key="accounts.id", ondelete="CASCADE", max_length=ID_CHARACTERS)
    services: str = Field(max_length=2000)  # those that were asked, separated by spaces
    missing: str = Field(default="", max_length=2000)  # those that did not respond in time
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    finished: datetime | None = Field(default=None, sa_type=UtcDateTime)
    expires: datetime = Field(sa_type=UtcDateTime)

    @property
    def is_open(self) -> bool:
        """Whether services may still send their parts."""
        return self.finished is None and self.expires > now()


class ExportPiece(Table, table=True):
    """A piece of a service's part, in the order of its number."""

    __tablename__ = "export_pieces"
    __table_args__ = (
        Index("ix_export_pieces_last", "export_id", "service", **rows_where("is_last", sqlite="is_last = 1")),
    )

    export_id: str = Field(
        foreign_key="exports.id", ondelete="CASCADE", primary_key=True, max_length=ID_CHARACTERS
    )
    service: str = Field(primary_key=True, max_length=50)
    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    section: str = Field(max_length=50)
    content: str = Field(sa_type=Text)
    is_last: bool = False
    is_cut: bool = False


class ExportDownload(Table, table=True):
    """The lease of an account's running download."""

    __tablename__ = "export_downloads"

    account_id: str = Field(
        foreign_key="accounts.id", ondelete="CASCADE", primary_key=True, max_length=ID_CHARACTERS
    )
    lease_id: str = Field(unique=True, max_length=ID_CHARACTERS)
    expires: datetime = Field(sa_type=UtcDateTime)
