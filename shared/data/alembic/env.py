"""The Alembic environment shared by all services; shared/data/migrate.py passes the connection."""

from typing import Any, Literal

from alembic import context
from sqlmodel import AutoString

from shared.data.database import UtcDateTime
from shared.data.migrate import is_of_the_models
from shared.data.reach import VERSION_TABLE, note
from shared.process.supervision import report_phase


def render_item(kind: str, value: Any, _context: Any) -> str | Literal[False]:
    """Render our own types as imported in script.py.mako, and SQLModel's as their base types."""
    if kind == "type" and isinstance(value, UtcDateTime):
        return "UtcDateTime"
    if kind == "type" and isinstance(value, AutoString):
        return f"sa.String({value.length or ''})"
    return False


def applied(*_: Any, **about: Any) -> None:
    """Note how far the database is, in the transaction of the migration; report the progress."""
    step = about["step"]
    contracts = getattr(step.up_revision.module, "CONTRACTS", None)
    note(connection, step.up_revision_id, step.up_revision.down_revision, contracts)
    report_phase(f"migrating: {step.up_revision_id} is done")


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=context.config.attributes.get("metadata"),
    version_table=VERSION_TABLE,
    render_as_batch=connection.dialect.name == "sqlite",
    compare_type=True,
    include_name=is_of_the_models,
    render_item=render_item,
    on_version_apply=applied,
    # Short transactions hold locks briefly, and a retry continues after the last migration that succeeded.
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
