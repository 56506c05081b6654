"""The base class and column sizes of this service's tables."""

from sqlalchemy.orm import registry
from sqlmodel import SQLModel

from shared.data.tables import NOT_VALIDATED

ID_CHARACTERS = 36
HASH_CHARACTERS = 64


class Table(SQLModel, registry=registry()):
    """The base of this service's tables, with their own metadata."""

    model_config = NOT_VALIDATED
