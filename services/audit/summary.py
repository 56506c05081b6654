"""What the dashboard shows of the audit log."""

from sqlalchemy import select

from contracts.summaries import Rows
from services.audit.models import RECORDS, REFUSED


def rows_of(user_id: str | None) -> Rows:
    """Return what is counted: the records about a person, or all."""
    mine = (
        select(RECORDS.c.id) if user_id is None else select(RECORDS.c.id).where(RECORDS.c.user_id == user_id)
    )
    return {"records": mine, "refused": mine.where(RECORDS.c.outcome == REFUSED)}
