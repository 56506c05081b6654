"""The base of the inventory service's tables."""

from sqlalchemy.orm import registry
from sqlmodel import SQLModel

from shared.data.tables import NOT_VALIDATED

ID = 36


class Table(SQLModel, registry=registry()):
    """Base of this service's tables, with its own metadata."""

    model_config = NOT_VALIDATED
