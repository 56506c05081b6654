"""Which records a question is about, and how they look when they leave."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import RowMapping, Select, and_, select
from sqlmodel import Session

from services.audit.log import rfc3339
from services.audit.models import PERSONAL, RECORDS
from services.audit.schemas import FilterLogs
from services.audit.tree import Tree

# An id begins with the time at which it was made, on the clock of another machine than the timestamp.
CLOCKS_APART = timedelta(minutes=5)
CHUNK_RECORDS = 1024

# An outer join: what is personal may have been taken away behind our back, and that must show.
_TOGETHER = RECORDS.outerjoin(
    PERSONAL, and_(PERSONAL.c.seq == RECORDS.c.seq, PERSONAL.c.received == RECORDS.c.received)
)
_COLUMNS = [*RECORDS.c, *(column for column in PERSONAL.c if column.name not in {"seq", "received"})]
EVERYTHING = select(*_COLUMNS).select_from(_TOGETHER)


def matching(query: FilterLogs, user_id: str | None) -> Select[Any]:
    """The records that a question is about."""
    statement = EVERYTHING
    filters = {
        RECORDS.c.user_id: user_id,
        RECORDS.c.action: query.action,
        RECORDS.c.resource: query.resource,
        RECORDS.c.outcome: query.outcome,
    }
    for column, wanted in filters.items():
        if wanted is not None:
            statement = statement.where(column == wanted)
    if query.since is not None:
        lowest = _first_id(query.since, -CLOCKS_APART)
        statement = statement.where(RECORDS.c.timestamp >= query.since, RECORDS.c.id >= lowest)
    if query.until is not None:
        highest = _first_id(query.until, CLOCKS_APART)
        statement = statement.where(RECORDS.c.timestamp < query.until, RECORDS.c.id <= highest)
    return statement


def _first_id(moment: datetime, apart: timedelta) -> str:
    """The smallest UUIDv7 of a moment."""
    milliseconds = max(0, int(moment.timestamp() * 1000) + int(apart.total_seconds() * 1000))
    digits = f"{milliseconds:012x}"
    return f"{digits[:8]}-{digits[8:12]}-7000-8000-000000000000"


def read_range(session: Session, low: int, high: int) -> Sequence[RowMapping]:
    """The records from one place up to another, in the order of the log."""
    within = EVERYTHING.where(RECORDS.c.seq >= low, RECORDS.c.seq < high).order_by(RECORDS.c.seq)
    return session.connection().execute(within).mappings().all()


def line(row: RowMapping, tree: Tree) -> dict[str, Any]:
    """A record with everything that is needed to check it."""
    return {
        "type": "record",
        "seq": row["seq"],
        "id": row["id"],
        "timestamp": rfc3339(row["timestamp"]),
        "user_id": row["user_id"],
        "actor": row["actor"],
        "action": row["action"],
        "resource": row["resource"],
        "outcome": row["outcome"],
        "status": row["status"],
        "service": row["service"],
        "ip": row["ip"],
        "user_agent": row["user_agent"],
        "metadata": row["metadata"],
        "request_id": row["request_id"],
        "trace_id": row["trace_id"],
        "received": rfc3339(row["received"]),
        "origin": row["origin"],
        "origin_salt": row["origin_salt"],
        "origin_erased_by": row["origin_erased_by"],
        "details": row["details"],
        "details_salt": row["details_salt"],
        "details_erased_by": row["details_erased_by"],
        "leaf": tree.leaf(row["seq"]).hex(),
    }


def metadata_of(text: str | None) -> Any:
    return None if text is None else json.loads(text)
