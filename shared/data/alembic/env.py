"""The Alembic environment shared by all services; shared/data/migrate.py passes the connection."""

from typing import Any, Literal

from alembic import context
from sqlmodel import AutoString

from shared.data.database import UtcDateTime
from shared.data.migrate import is_of_the_models
from shared.process.supervision import report_phase


def render_item(kind: str, value: Any, _context: Any) -> str | Literal[False]:
    """Render our own types as imported in script.py.mako, and SQLModel's as their base types."""
    if kind == "type" and isinstance(value, UtcDateTime):
        return "UtcDateTime"
    if kind == "type" and isinstance(value, AutoString):
        return f"sa.String({value.length or ''})"
    return False


def report(*_: Any, **applied: Any) -> None:
    """Report the progress of a long upgrade."""
    report_phase(f"migrating: {applied['step'].up_revision_id} is done")


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=context.config.attributes.get("metadata"),
    version_table="schema_migrations",
    render_as_batch=connection.dialect.name == "sqlite",
    compare_type=True,
    include_name=is_of_the_models,
    render_item=render_item,
    on_version_apply=report,
    # Short transactions hold locks briefly, and a retry continues after the last migration that succeeded.
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
