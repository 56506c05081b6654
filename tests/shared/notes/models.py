from datetime import datetime

from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from shared.clock import now
from shared.data.database import UtcDateTime
from shared.events import EventTables
from shared.http.idempotency import IdempotencyStore
from shared.ids import new_id


class Table(SQLModel, registry=registry()):
    pass


class Note(Table, table=True):
    __tablename__ = "notes"

    id: str = Field(default_factory=new_id, primary_key=True, max_length=36)
    owner: str = Field(max_length=36)
    text: str = Field(max_length=200, unique=True)
    version: int = 1
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)


IDEMPOTENCY = IdempotencyStore(Table.metadata)
EVENTS = EventTables(Table.metadata)
