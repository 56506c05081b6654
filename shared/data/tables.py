"""Models and their tables."""

from sqlalchemy import Table
from sqlmodel import SQLModel
from sqlmodel._compat import SQLModelConfig

# Rows are not validated, so no validators are built: they would take memory in every process.
NOT_VALIDATED = SQLModelConfig(defer_build=True)


def table_of(model: type[SQLModel]) -> Table:
    """Return the table of a model, for statements that name its columns."""
    table = getattr(model, "__table__", None)
    assert isinstance(table, Table), f"{model.__name__} has no table"
    return table
