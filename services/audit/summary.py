"""What the dashboard shows of the audit log."""

from sqlalchemy import literal, select

from contracts.summaries import Rows
from services.audit.models import RECORDS, REFUSED


def rows_of(user_id: str | None) -> Rows:
    """Return what is counted: the records about a person, or all."""
    mine = (
        select(RECORDS.c.id) if user_id is None else select(RECORDS.c.id).where(RECORDS.c.user_id == user_id)
    )
    # As a literal, so that the planner recognises the partial indexes of refused records.
    refused = RECORDS.c.outcome == literal(REFUSED, literal_execute=True)
    return {"records": mine, "refused": mine.where(refused)}
