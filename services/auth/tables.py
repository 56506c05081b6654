"""What the tables of this service have in common."""

from sqlalchemy.orm import registry
from sqlmodel import SQLModel

ID_CHARACTERS = 36
HASH_CHARACTERS = 64


class Table(SQLModel, registry=registry()):
    """The base of this service's tables: their metadata is its own."""
