"""The tables of LDAP servers and the people on them."""

from datetime import datetime

from sqlalchemy import Index, Text
from sqlmodel import Field

from services.inventory.tables import ID, Table
from shared.clock import now
from shared.data.database import UtcDateTime, rows_where
from shared.ids import new_id


class LdapServer(Table, table=True):
    """A directory server, whose entries say who the users of WorkSpaces are."""

    __tablename__ = "ldap_servers"
    __table_args__ = (
        Index("ix_ldap_servers_name", "name", unique=True, **rows_where("deleted IS NULL")),
        Index("ix_ldap_servers_live", "id", **rows_where("deleted IS NULL")),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID)
    name: str = Field(max_length=100)
    server_url: str = Field(max_length=300)
    base_dn: str = Field(max_length=500)
    bind_username: str = Field(max_length=500)
    bind_password: str | None = Field(default=None, sa_type=Text)  # sealed
    search_filter: str = Field(max_length=1000)
    is_default: bool = False
    status: str = Field(max_length=20)
    status_detail: str | None = Field(default=None, max_length=500)
    last_sync: datetime | None = Field(default=None, sa_type=UtcDateTime)
    deleted: datetime | None = Field(default=None, sa_type=UtcDateTime)
    version: int = 1
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    updated: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class Person(Table, table=True):
    """The user of a WorkSpace, as found on a directory server."""

    __tablename__ = "people"
    __table_args__ = (Index("ix_people_server_seen", "server", "seen"),)

    user_key: str = Field(primary_key=True, max_length=300)  # the user's name, case-folded
    server: str = Field(max_length=ID)
    display_name: str | None = Field(default=None, max_length=300)
    email: str | None = Field(default=None, max_length=300)
    department: str | None = Field(default=None, max_length=300)
    job_title: str | None = Field(default=None, max_length=300)
    manager: str | None = Field(default=None, max_length=300)
    seen: datetime = Field(sa_type=UtcDateTime)
