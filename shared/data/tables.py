"""Models and their tables."""

from sqlalchemy import Table
from sqlmodel import SQLModel


def table_of(model: type[SQLModel]) -> Table:
    """Return the table of a model, for statements that name its columns."""
    table = getattr(model, "__table__", None)
    assert isinstance(table, Table), f"{model.__name__} has no table"
    return table
